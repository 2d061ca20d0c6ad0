"""Video Cloud: a video is created, its file uploaded to its bucket, ingested, and waited for.

Nobody waits here: a job that runs is looked at once a try, and `NotYet` says when to look again. So 6 h of ingest hold
no worker, and an abort need not find one.

Nothing is made twice, wherever the exporter dies. A video has a reference id that no other of its account has: the
user's, or `reelay-<export>`; a second creation is refused, and the first is found by it. A user's own reference id may
be another video's: ours has the tag `reelay-<export>`. An upload is resumed where the bucket's key is the same again.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from services.exporter.destinations.base import Order, SourceFile, Transfer
from services.exporter.destinations.http_server import Web
from services.exporter.destinations.s3_client import Access, S3Clients
from services.exporter.destinations.s3_errors import S3Fault
from services.exporter.destinations.s3_object import S3Object
from services.exporter.destinations.s3_upload import S3Upload
from services.exporter.destinations.videocloud_api import Bases, CloudFault, VideoCloud
from services.exporter.destinations.videocloud_note import Note, Part, keep
from shared.errors import DestinationFailed, NotYet
from shared.runtime.clock import Clock
from shared.security.netguard.addresses import Networks

_IN_USE: Final = "REFERENCE_ID_IN_USE"
_FINISHED: Final = "finished"
_ENDED: Final = frozenset({_FINISHED, "failed", "error", "cancelled", "canceled"})
_ENDED_KEYS: Final = frozenset({"ExpiredToken", "TokenRefreshRequired", "InvalidToken"})
_FAILURES: Final = 6
_MOST_JOBS: Final = 20
_LONGEST_URL: Final = 2048
_REGION: Final = "us-east-1"
_TEXT: Final = "Video Cloud"


@dataclass(frozen=True, slots=True)
class Waits:
    """How often an ingest job is looked at, and how long at most."""

    first: timedelta = timedelta(seconds=2)
    longest: timedelta = timedelta(seconds=60)
    whole: timedelta = timedelta(hours=6)


@dataclass(frozen=True, slots=True)
class VideoCloudMaker:
    """Makes the destinations of Video Cloud; `bucket_endpoint` is that of its buckets, empty for AWS."""

    web: Web
    clients: S3Clients
    clock: Clock
    bases: Bases
    waits: Waits = Waits()
    bucket_endpoint: str = ""

    @classmethod
    def of(cls, allowed: Networks, tls: ssl.SSLContext, clock: Clock, bases: Bases, waits: Waits) -> VideoCloudMaker:
        """Return a maker whose connections go to checked addresses and trust what `tls` trusts."""
        return cls(Web(tuple(allowed), tls), S3Clients(allowed, tls), clock, bases, waits)

    def __call__(self, order: Order) -> VideoCloudDestination:
        """Return the destination; DestinationFailed (final) when the order cannot be read."""
        if order.credential is None:
            text = f"{_TEXT}: there are no credentials: name stored ones, or store a default"
            raise DestinationFailed(text, final=True)
        record = order.credential.record
        account = str(order.options.get("account_id") or urlsplit(order.url).netloc or record.account_id)
        if not account:
            raise DestinationFailed(f"{_TEXT}: neither the clip nor the credentials name an account", final=True)
        video, ingest = (order.options.get(name) or {} for name in ("video", "ingest"))
        if not isinstance(video, dict) or not isinstance(ingest, dict) or "master" in ingest:
            text = f"{_TEXT}: video and ingest are objects, and ingest.master is not for the client to set"
            raise DestinationFailed(text, final=True)
        cloud = VideoCloud(self.web, self.clock, self.bases, account, (record.public, order.credential.private))
        return VideoCloudDestination(self, cloud, account, order, video, ingest)


@dataclass(frozen=True, slots=True)
class VideoCloudDestination:
    """One video of one account; the exact file takes the fast one's place in the same video."""

    maker: VideoCloudMaker
    cloud: VideoCloud
    account: str
    order: Order
    video: Mapping[str, Any]
    ingest: Mapping[str, Any]

    @property
    def _mark(self) -> str:
        return f"reelay-{self.order.export}"

    @property
    def _reference(self) -> str:
        return str(self.video.get("reference_id") or self._mark)

    async def put(self, file: SourceFile, transfer: Transfer) -> str:
        """Deliver the file; done when its ingest job is, NotYet while that runs."""
        try:
            return await self._put(file, transfer)
        except CloudFault as fault:
            if fault.status != 404:
                raise
            await transfer.keep("")  # the video was deleted: the next try makes another
            raise DestinationFailed(str(fault)) from None
        except S3Fault as fault:
            if fault.code not in _ENDED_KEYS:
                raise
            raise DestinationFailed(f"{_TEXT}'s bucket: the keys that it lent have ended ({fault.code})") from None

    async def _put(self, file: SourceFile, transfer: Transfer) -> str:
        note = Note.read(transfer.resume, file)
        if not note.video:
            note = await self._make(note)
            await keep(transfer, note)
        job = note.job or (await self._asked(note) if note.asked_ms else "")
        if not job:
            if note.since_ms and not note.master:  # a URL that is not kept: wait first, so as to upload once more only
                await self._settled(note, transfer)
            if not note.master:
                note = await self._upload(note, file, transfer)
            before = await self._settled(note, transfer)
            note = replace(note, asked_ms=self.maker.clock.now_ms(), before=before)
            await keep(transfer, note)
            job = await self.cloud.ingest(note.video, {**self.ingest, "master": {"url": note.master}})
        if job != note.job:
            note = replace(note, job=job)
            await keep(transfer, note)
        await self._look(note, transfer)
        return f"videocloud://{self.account}/{note.video}"

    async def _make(self, note: Note) -> Note:
        """Create the video, or find the one that an earlier try created."""
        own = {key: value for key, value in self.video.items() if value is not None}
        own.setdefault("name", self.order.file_name)
        own["reference_id"] = self._reference
        if self._reference != self._mark:
            own["tags"] = [*own.get("tags", []), self._mark]
        found = await self.cloud.find(self._reference)
        if found is None:
            try:
                return replace(note, video=await self.cloud.create(own), made=True)
            except CloudFault as fault:
                if fault.status != 409 and _IN_USE not in fault.codes:
                    raise
                found = await self.cloud.find(self._reference)  # by another exporter, just now
        if found is None:
            raise DestinationFailed(f"{_TEXT}: the reference id {self._reference} is in use, but by no video")
        if self._reference != self._mark and self._mark not in found.get("tags", []):
            text = f"{_TEXT}: another video has the reference id {self._reference} already"
            raise DestinationFailed(text, final=True)
        return replace(note, video=str(found["id"]))

    async def _upload(self, note: Note, file: SourceFile, transfer: Transfer) -> Note:
        """Put the file into the bucket that Video Cloud names, with the keys that it lends for a day."""
        told = await self.cloud.upload_urls(note.video, f"{self.order.accuracy}-{self.order.file_name}")
        try:
            named = [str(told[key]) for key in ("bucket", "object_key", "access_key_id", "secret_access_key")]
            token, master = str(told["session_token"]), str(told["api_request_url"])
        except KeyError as error:
            raise DestinationFailed(f"{_TEXT} names no {error.args[0]} to upload to") from None
        access = Access(named[2], named[3], token, _REGION, self.maker.bucket_endpoint)
        note = replace(note, size=file.size, sha256=file.sha256)
        async with self.maker.clients.link(access, f"{_TEXT}'s bucket") as link:
            at = S3Object(named[0], named[1], {"ContentType": file.content_type})
            await S3Upload(link, at, file, f"{_TEXT}'s bucket").put(Part(transfer, note))
        if not 0 < len(master) <= _LONGEST_URL:
            raise DestinationFailed(f"{_TEXT} names no usable URL to ingest from", final=True)
        return replace(note, master=master, upload="")

    async def _asked(self, note: Note) -> str:
        """Return the job that was begun by a try that died before it could note it; empty when there is none."""
        rows = await self.cloud.jobs(note.video)
        return next((str(row.get("id", "")) for row in rows if row.get("id") not in note.before), "")

    async def _settled(self, note: Note, transfer: Transfer) -> list[str]:
        """Return the ids of all jobs of the video; NotYet while one of them runs: a fast file's would overtake.

        After the longest wait it is ingested nevertheless.
        """
        rows = await self.cloud.jobs(note.video)
        if not all(row.get("state") in _ENDED for row in rows):
            note = replace(note, since_ms=note.since_ms or self.maker.clock.now_ms())
            if (pause := self._pause(note.since_ms)) is not None:
                await keep(transfer, note)
                raise NotYet(f"another file is being ingested into the video {note.video}", pause)
        return [str(row.get("id", "")) for row in rows][-_MOST_JOBS:]

    async def _look(self, note: Note, transfer: Transfer) -> None:
        """Return when the job is finished; NotYet while it runs, or cannot be asked for now and then."""
        state, pause = "unknown", self._pause(note.asked_ms)
        try:
            row = await self.cloud.job(note.video, note.job)
        except DestinationFailed as fault:  # told of too early, or overloaded: the job runs all the same
            if note.failures >= _FAILURES or (fault.final and not _is_missing(fault)):
                raise
            await keep(transfer, replace(note, failures=note.failures + 1))
        else:
            state = str(row.get("state", ""))
            if state == _FINISHED:
                return
            if state in _ENDED:
                said = ": ".join(str(row[key]) for key in ("error_code", "error_message") if row.get(key))
                text = f"{_TEXT} could not ingest the file: {said or state} (job {note.job})"
                raise DestinationFailed(text, final=True)
            if note.failures:
                await keep(transfer, replace(note, failures=0))
        if pause is None:
            hours = self.maker.waits.whole / timedelta(hours=1)
            text = f"{_TEXT} has not ingested the file within {hours:g} h (job {note.job} is {state})"
            raise DestinationFailed(text, final=True)
        raise NotYet(f"{_TEXT} ingests the file (job {note.job} is {state})", pause)

    def _pause(self, since_ms: int) -> timedelta | None:
        """Return a pause, the longer the longer it waits already; None after the longest wait."""
        waits, waited = self.maker.waits, timedelta(milliseconds=self.maker.clock.now_ms() - since_ms)
        return None if waited > waits.whole else min(max(waits.first, waited / 2), waits.longest)

    async def holds(self, file: SourceFile) -> bool:
        """Return whether the video's source file has this size and is ingested; no checksum is told.

        While a job runs, or when the last one failed, that is not so. Jobs are known for 7 days.
        """
        found = await self.cloud.find(self._reference)
        master = await self.cloud.master(str(found["id"])) if found else None
        if found is None or master is None or master.get("size") != file.size:
            return False
        rows = await self.cloud.jobs(str(found["id"]))
        newest = max(rows, key=lambda row: str(row.get("submitted_at", "")), default={"state": _FINISHED})
        return newest.get("state") == _FINISHED and all(row.get("state") in _ENDED for row in rows)

    async def discard(self, transfer: Transfer) -> None:
        """Delete the video that this put created, when no file was ever ingested. An upload goes after a day.

        Another put's neither: the exact file goes into the video that the fast one made.
        """
        note = Note.read(transfer.resume)
        if note.made and not note.asked_ms:
            await self.cloud.drop(note.video)

    async def test(self) -> None:
        """Fetch a token, and ask the account for something. A test that writes would be a video on a site."""
        await self.cloud.count()


def _is_missing(fault: DestinationFailed) -> bool:
    return isinstance(fault, CloudFault) and fault.status == 404
