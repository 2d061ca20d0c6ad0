"""Uploads one file to one key of a bucket: in one request, or in parts, several at once, resumable."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from services.exporter.destinations.base import SourceFile, Transfer
from services.exporter.destinations.s3_client import S3Link, listed
from services.exporter.destinations.s3_errors import S3Fault
from services.exporter.destinations.s3_object import Note, S3Object
from services.exporter.destinations.s3_sender import PARALLEL, Body
from services.exporter.destinations.telling import telling, together, waiting
from shared.errors import DestinationFailed

PART: Final = 8 << 20
MOST_PARTS: Final = 10_000
MEMORY: Final = 128 << 20
"""Of one upload, when huge files make parts larger; a part at a time is always there."""
TRIES: Final = 4
SHA: Final = "reelay-sha256"
_MD5: Final = re.compile(r"[0-9a-f]{32}")
LATER_S: Final = 1.0
_MISSING: Final = frozenset({"NoSuchKey", "NoSuchBucket"})
_HIDDEN: Final = frozenset({"403", "AccessDenied"})
_KMS: Final = frozenset({"aws:kms", "aws:kms:dsse", "aws:fsx"})


@dataclass(slots=True)
class _Sum:
    """Whether this server's ETags are the MD5s of what was sent: unknown until one was, or three times was not."""

    told: bool | None = None

    def differs(self, answer: Mapping[str, Any], md5: str, *, last: bool) -> bool:
        """Return whether what the server has is something else than was sent."""
        tag = _tag(answer)
        if answer.get("ServerSideEncryption") in _KMS or "SSECustomerAlgorithm" in answer or not _MD5.fullmatch(tag):
            return False
        if tag == md5:
            self.told = True
            return False
        if self.told is None and last:
            self.told = False
        return self.told is not False


class S3Upload:
    """One upload over an open link."""

    def __init__(self, link: S3Link, at: S3Object, file: SourceFile, where: str) -> None:
        self._link = link
        self._at = at
        self._file = file
        self._where = where
        self._sum = _Sum()
        self._done: dict[int, tuple[int, str]] = {}
        self._bodies: dict[int, Body] = {}

    async def put(self, transfer: Transfer) -> None:
        """Upload the file, and check that all of it is there."""
        note = Note.read(transfer.resume)
        if note and not self._fits(note):
            await abort(self._link, self._at.bucket, note)
            note = None
        if self._file.size <= PART:
            await self._whole(transfer)
        else:
            await self._in_parts(transfer, note)
        await self._check()

    async def is_there(self, transfer: Transfer | None = None) -> bool:
        """Return whether the key holds this very file: by size, and by what tells its content where anything does.

        A transfer is told while the file is read for that.
        """
        head = await self._head()
        if not head or int(head.get("ContentLength", -1)) != self._file.size:
            return False
        sha = {key.lower(): value for key, value in head.get("Metadata", {}).items()}.get(SHA, "")
        if sha and self._file.sha256:
            return bool(sha == self._file.sha256)
        return await self._same_tag(head, transfer)

    async def _head(self) -> Mapping[str, Any] | None:
        """Return what is told of the object: nothing when there is none; None when these keys may not look."""
        try:
            return await self._link.call("head_object", **self._at.named)
        except S3Fault as fault:
            if fault.code in _MISSING:
                return {}
            if fault.code in _HIDDEN:
                return None
            raise

    async def _same_tag(self, head: Mapping[str, Any], transfer: Transfer | None) -> bool:
        """Compare the object's ETag with the one that our parts, or the whole file, would have."""
        tag, _, number = _tag(head).partition("-")
        spans = list(_spans(self._file.size, part_size(self._file.size)))
        if head.get("ServerSideEncryption") in _KMS or not _MD5.fullmatch(tag):
            return True  # the server tells nothing
        if number and number != str(len(spans)):
            return False
        sums = [await self._md5(span, transfer) for span in spans] if number else []
        own = hashlib.md5(b"".join(sums), usedforsecurity=False)
        if not number:
            async for piece in self._file.chunks():
                own.update(piece)
                await self._tell(transfer)
        return own.hexdigest() == tag

    async def _md5(self, span: tuple[int, int], transfer: Transfer | None) -> bytes:
        data = await self._file.read(*span)
        await self._tell(transfer)
        return (await asyncio.to_thread(hashlib.md5, data, usedforsecurity=False)).digest()

    async def _tell(self, transfer: Transfer | None) -> None:
        """Tell, as nothing is sent while our own file is read, that the delivery is not stuck."""
        if transfer is not None:
            await transfer.sent(self._total())

    def _fits(self, note: Note) -> bool:
        return (note.size, note.sha256, note.key, note.part) == (
            self._file.size, self._file.sha256, f"{self._at.bucket}/{self._at.key}", part_size(self._file.size)
        )  # fmt: skip

    async def _whole(self, transfer: Transfer) -> None:
        data = await self._file.read(0, self._file.size)
        async with telling(transfer, self._total):
            await self._send("put_object", 0, data, **self._at.named, **self._at.written_with)
        await transfer.sent(self._file.size)

    async def _in_parts(self, transfer: Transfer, note: Note | None) -> None:
        spans = dict(enumerate(_spans(self._file.size, part_size(self._file.size)), 1))
        if note is not None and not await self._taken_up(note, spans, transfer):
            if await self.is_there(transfer):  # joined by an earlier try, or by another exporter
                return
            note = None
        if note is None:
            note = await self._begin(transfer)
        await transfer.sent(self._total())
        try:
            await self._rest(note, spans, transfer)
            async with waiting(transfer, self._file.size):
                await self._join(note)
        except S3Fault as fault:
            if fault.code == "NoSuchUpload":
                if await self.is_there(transfer):
                    return
                await transfer.keep("")
            raise

    async def _taken_up(self, note: Note, spans: Mapping[int, tuple[int, int]], transfer: Transfer) -> bool:
        """Return whether an earlier try's upload goes on; one whose parts may not be listed is dropped."""
        try:
            self._done = await self._proven(await self._uploaded(note, spans), spans, transfer)
        except S3Fault as fault:
            if not fault.final and fault.code != "NoSuchUpload":
                raise
            if fault.final:
                with contextlib.suppress(S3Fault):
                    await abort(self._link, self._at.bucket, note)
            return False
        return True

    async def _begin(self, transfer: Transfer) -> Note:
        upload = await begin(self._link, self._where, **self._at.named, **self._at.written_with)
        size, key = self._file.size, f"{self._at.bucket}/{self._at.key}"
        note = Note(upload, part_size(size), size, self._file.sha256, key)
        try:
            await transfer.keep(note.text)
        except BaseException:
            await asyncio.shield(abort(self._link, self._at.bucket, note))
            raise
        return note

    async def _uploaded(self, note: Note, spans: Mapping[int, tuple[int, int]]) -> dict[int, tuple[int, str]]:
        """Return the parts that the server has whole: their sizes and ETags by number."""
        found: dict[int, tuple[int, str]] = {}
        marker = 0
        while True:
            more = {"PartNumberMarker": marker} if marker else {}
            page = await self._link.call("list_parts", **self._at.named, UploadId=note.upload, **more)
            for row in listed(page.get("Parts")):
                number, size = int(row["PartNumber"]), int(row["Size"])
                if number in spans and size == spans[number][1]:
                    found[number] = size, _tag(row)
            following = int(page.get("NextPartNumberMarker") or 0)
            if not page.get("IsTruncated") or following <= marker:
                return found
            marker = following

    async def _proven(
        self, found: dict[int, tuple[int, str]], spans: Mapping[int, tuple[int, int]], transfer: Transfer
    ) -> dict[int, tuple[int, str]]:
        """Return the parts that are surely of this file: all when its checksum is the kept one, else by their MD5."""
        if self._file.sha256:
            return found
        return {n: part for n, part in found.items() if (await self._md5(spans[n], transfer)).hex() == part[1]}

    async def _rest(self, note: Note, spans: Mapping[int, tuple[int, int]], transfer: Transfer) -> None:
        left = iter([number for number in spans if number not in self._done])
        at_once = max(1, min(PARALLEL, MEMORY // note.part))

        async def work() -> None:
            for number in left:
                offset, length = spans[number]
                data = await self._file.read(offset, length)
                if len(data) != length:
                    raise DestinationFailed(f"{self._where}: the file is shorter than {self._file.size} bytes")
                answer = await self._send(
                    "upload_part", number, data, **self._at.named, UploadId=note.upload, PartNumber=number
                )
                self._done[number] = length, _tag(answer)
                self._bodies.pop(number, None)

        async with telling(transfer, self._total):
            await together(*(work() for _ in range(at_once)))
        await transfer.sent(self._total())

    async def _send(self, operation: str, number: int, data: bytes, **arguments: Any) -> Mapping[str, Any]:
        """Send bytes, again when the server is overloaded or got others; raise what the last try came to."""
        digest = await asyncio.to_thread(hashlib.md5, data, usedforsecurity=False)
        check = base64.b64encode(digest.digest()).decode()
        for tries in range(1, TRIES + 1):
            body = self._bodies[number] = Body(data)
            try:
                answer = await self._link.call(operation, **arguments, Body=body if data else b"", ContentMD5=check)
            except S3Fault as fault:
                if fault.final or fault.code == "NoSuchUpload" or tries == TRIES:
                    raise
            else:
                if not self._sum.differs(answer, digest.hexdigest(), last=tries == TRIES):
                    return answer
            self._bodies.pop(number, None)
            await asyncio.sleep(LATER_S * tries)
        raise DestinationFailed(f"{self._where}: the server has other bytes than were sent, by its own checksum")

    async def _join(self, note: Note) -> None:
        parts = [{"PartNumber": number, "ETag": f'"{tag}"'} for number, (_, tag) in sorted(self._done.items())]
        await self._link.call(
            "complete_multipart_upload", **self._at.named, UploadId=note.upload, MultipartUpload={"Parts": parts}
        )

    async def _check(self) -> None:
        head = await self._head()
        if head is None:  # keys that may only write: the server has checked each part's MD5
            return
        size = int(head.get("ContentLength", -1))
        if size != self._file.size:
            has = "none" if size < 0 else size
            raise DestinationFailed(
                f"{self._where}: the server took the file, but has {has} of its {self._file.size} bytes"
            )

    def _total(self) -> int:
        return sum(size for size, _ in self._done.values()) + sum(body.taken for body in self._bodies.values())


async def begin(link: S3Link, where: str, **arguments: Any) -> str:
    """Begin an upload in parts, and return its id."""
    upload = (await link.call("create_multipart_upload", **arguments)).get("UploadId")
    if not upload:
        raise DestinationFailed(f"{where}: the server names no upload")
    return str(upload)


async def abort(link: S3Link, bucket: str, note: Note) -> None:
    """Drop an unfinished upload with its parts; do nothing when it is gone or the server fails."""
    key = note.key.partition("/")[2]
    try:
        await link.call("abort_multipart_upload", Bucket=bucket, Key=key, UploadId=note.upload)
    except S3Fault as fault:
        if not fault.final and fault.code not in {"NoSuchUpload", "NoSuchKey"}:
            raise


def part_size(size: int) -> int:
    """Return the size of a file's parts: 8 MiB, or whole MiB so that there are at most 10,000."""
    least = -(-size // MOST_PARTS)
    return max(PART, -(-least // (1 << 20)) << 20)


def _spans(size: int, part: int) -> Iterator[tuple[int, int]]:
    for offset in range(0, size, part):
        yield offset, min(part, size - offset)


def _tag(answer: Mapping[str, Any]) -> str:
    return str(answer.get("ETag", "")).strip('"').lower()
