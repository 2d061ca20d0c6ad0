"""DVR exports: files of a range of a stream at a place that the client names. Each is a clip of ours."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from services.gateway.delivery.downloads import Downloads
from services.gateway.domain.clips.asked import NewClip
from services.gateway.domain.clips.clips import ENDED, Clips, KnownClip
from services.gateway.domain.clips.window import ClipRange, Names
from services.gateway.domain.errors import Fault, Invalid, NotFound, StateConflict, no_such
from services.gateway.domain.exports.exports import Exports
from services.gateway.domain.lists.lists import CLIP_FACADE
from services.gateway.domain.lists.orders import Wanted
from services.gateway.domain.lists.pages import Paging, read_token
from services.gateway.facades.flussonic.dvr import Dvr
from services.gateway.facades.flussonic.export_models import ExportAsk, destinations_of, stem
from services.gateway.facades.flussonic.streams import VENDOR, Streams
from shared.messages.clips import FacadeNote, VodState

MOST: Final = 10_000
"""How many exports a list looks through, the latest first."""
TRIED: Final = 32
_NAMES: Final = Names("from", "duration", "duration")
_FIELDS: Final = {"url": "path", "destinations": "path"}
_STATUS: Final[dict[VodState, str]] = {
    "finished": "succeeded", "failed": "failed", "error": "failed", "cancelled": "canceled",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Parts:
    """What exports are made of; `folders`: the exporter writes into folders here."""

    clips: Clips
    exports: Exports
    downloads: Downloads
    folders: bool


class DvrExports:
    """Starts, finds, lists and cancels exports. The client's UUID is the clip's id: the same again makes nothing."""

    def __init__(self, streams: Streams, dvr: Dvr, parts: Parts) -> None:
        self._streams = streams
        self._dvr = dvr
        self._parts = parts

    async def put(self, account: str, clip: str, asked: ExportAsk, trace: str) -> dict[str, Any]:
        """Start an export and return it; StateConflict when its id is that of another. Invalid, NotFound, TooMany."""
        note = note_of(clip, asked, trace)
        known = await self._known(account, clip)
        if known is None:
            await self._start(account, clip, asked, note)
            known = await self._known(account, clip)
        if known is None:
            raise StateConflict("this export was deleted a moment ago: choose another id")
        if not _same(known, note):
            raise StateConflict("another export has this id")
        return await self._whole(known)

    async def begin(self, account: str, asked: ExportAsk, trace: str) -> None:
        """Start an export without an id, as `put`; one of the same that goes on is enough."""
        for number in range(TRIED):
            text = f"{account}\0{asked.name}\0{asked.start}\0{asked.duration}\0{asked.path}\0{number}"
            clip = hashlib.sha256(text.encode()).hexdigest()[:32]
            known = await self._known(account, clip)
            if known is None or known.state not in ENDED:
                break
        else:
            clip = uuid.uuid4().hex
        await self.put(account, clip, asked, trace)

    async def get(self, account: str, clip: str) -> dict[str, Any]:
        """Return an export; NotFound."""
        return await self._whole(await self._found(account, clip))

    async def cancel(self, account: str, clip: str) -> None:
        """Cancel an export; one that has ended stays as it is. NotFound."""
        known = await self._found(account, clip)
        if known.state in ENDED:
            return
        try:
            await self._parts.clips.cancel(account, clip)
        except StateConflict:  # it has ended meanwhile
            return

    async def all_of(self, account: str) -> list[dict[str, Any]]:
        """Return an account's exports, the latest MOST."""
        wanted, paging = Wanted({CLIP_FACADE: VENDOR}), Paging(page_size=1000)
        found: list[KnownClip] = []
        while True:
            page = await self._parts.clips.page(account, wanted, _is_ours, paging)
            found += page.items
            if page.next_token is None or len(found) >= MOST:
                return [self._view(known) for known in found]
            paging = Paging(after=read_token(page.next_token), page_size=1000)

    async def _start(self, account: str, clip: str, asked: ExportAsk, note: FacadeNote) -> None:
        stream = await self._streams.find(account, asked.name)
        event = await self._dvr.event_at(stream, asked.start)
        span = ClipRange(
            "wall", Fraction(asked.start, 1000), duration=Fraction(asked.duration, 1000), wait=True, names=_NAMES
        )
        to = destinations_of(asked.path, folders=self._parts.folders)
        new = NewClip("", stem(asked.path), span, destinations=to, note=note)
        try:
            await self._parts.clips.create(account, event, [new], lambda _: clip)
        except Invalid as error:
            raise _named(error) from error

    async def _known(self, account: str, clip: str) -> KnownClip | None:
        try:
            return await self._parts.clips.find(account, clip)
        except NotFound:
            return None

    async def _found(self, account: str, clip: str) -> KnownClip:
        known = await self._known(account, clip)
        if known is None or not _is_ours(known):
            raise no_such("export")
        return known

    async def _whole(self, known: KnownClip) -> dict[str, Any]:
        """Return an export with how many bytes of its present file its destination has taken."""
        made, sent = self._view(known), await self._parts.exports.sent(known)
        made["reelay"]["sent_bytes"] = sum(sent.values())
        return made

    def _view(self, known: KnownClip) -> dict[str, Any]:
        request, record, downloads = known.request, known.record, self._parts.downloads
        assert request.note is not None  # noqa: S101  only clips with one come here
        file, line = (record.file, record.deliveries[0]) if record and record.deliveries else (None, None)
        made = {name: value for name, value in request.note.document.items() if name != "trace_id"}
        made |= {"packing": "compat", "status": _STATUS.get(known.state, "running"), "started_at": known.created_ms}
        if record and record.finished_ms is not None:
            made["finished_at"] = record.finished_ms
        if record and record.error:
            made["error"] = record.error
        made["reelay"] = {
            "clip": request.clip,
            "job": request.event,
            "destination": request.destinations[0].type,
            "location": line.location if line else "",
            "bytes": file.bytes if file else None,
            "media_url": downloads.url(request.clip) if file else None,
            "playlist_url": downloads.playlist_url(request.account, request.clip),
        }
        return made


def note_of(clip: str, asked: ExportAsk, trace: str) -> FacadeNote:
    """Return what is kept of a request with its clip, and passed on in events."""
    document = {"id": str(uuid.UUID(clip)), **asked.kept(), "trace_id": trace}
    return FacadeNote(facade=VENDOR, document=document)


def _is_ours(known: KnownClip) -> bool:
    return known.request.note is not None and known.request.note.facade == VENDOR


def _same(known: KnownClip, note: FacadeNote) -> bool:
    """Return whether a clip is the export of a request, whichever request that was."""
    there = known.request.note
    return (
        there is not None and there.facade == VENDOR and there.document | {"trace_id": ""} == note.document
        | {"trace_id": ""}
    )  # fmt: skip


def _named(error: Invalid) -> Invalid:
    """Return an error about a clip with the fields' names here."""
    return Invalid(*(_fault(fault) for fault in error.faults), code=error.code)


def _fault(fault: Fault) -> Fault:
    name = fault.field.strip(".")
    if name == "credentials":
        return Fault("/path", f"credentials {fault.why} (POST /v1/credentials)")
    name = _FIELDS.get(name, name)
    return Fault(f"/{name}" if name else "", fault.why)
