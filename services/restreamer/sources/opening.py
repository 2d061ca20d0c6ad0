"""Open a source of a restream as a Media."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from threading import Event
from typing import Final
from urllib.parse import quote, unquote, urlsplit

import httpx

from services.restreamer.model import Media, SourceError
from services.restreamer.sources.access import Access, Limits
from services.restreamer.sources.apart.children import Family
from services.restreamer.sources.apart.demuxing import apart
from services.restreamer.sources.apart.kept import Keep
from services.restreamer.sources.containers.demux import Demuxer
from services.restreamer.sources.containers.file_media import FileMedia
from services.restreamer.sources.containers.sniff import index_comes_late, sniff
from services.restreamer.sources.flv.demux import flv_or
from services.restreamer.sources.mp4.demux import mp4_or
from services.restreamer.sources.origins.files import BlockFile, LocalFile, Readable, SequentialFile
from services.restreamer.sources.origins.http import guarded_client
from services.restreamer.sources.origins.origin import StoreOrigin
from services.restreamer.sources.origins.remote import HttpOrigin, resolved
from services.restreamer.sources.origins.spool import fetched
from services.restreamer.sources.origins.trouble import Trouble
from services.restreamer.sources.pictures import Picture, PictureCache
from services.restreamer.sources.playlists.hls import PlaylistMedia
from services.restreamer.sources.playlists.listed import Listed
from services.restreamer.sources.playlists.playlist import Bytes, Segment, parse_playlist
from services.restreamer.sources.recorded.live import LiveMedia
from services.restreamer.sources.recorded.recordings import RecordingMedia
from shared.broker import buckets
from shared.broker.kv import Bucket
from shared.messages.clips import ClipRecord
from shared.messages.restreams import Source
from shared.security.secrets import SecretUnreadable
from shared.security.webhooks import open_url
from shared.store.base import check_key
from shared.store.library import library_key
from shared.store.local import LocalStore

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
ID: Final = re.compile(r"[0-9a-f]{32}")
Sign = Callable[[str, str], str]
Tell = Callable[[str], None]


def open_media(
    source: Source, access: Access, stop: Event, tell: Tell = lambda _: None, readers: Family | None = None
) -> Media:
    """Open a source for the calling thread; `stop` ends its waits. Raise SourceError, whose text holds no secret.

    `tell` is called with texts about problems that do not end the source; `readers` read untrusted files.
    """
    place = _place(source, access)
    if source.kind == "recording":
        return RecordingMedia(_id(place), access, stop)
    if source.kind == "live":
        return LiveMedia(_id(place), access, stop)
    if source.kind in {"url", "s3"}:
        return _Remote(source, place, access, stop, tell, readers).media()
    file = _local(source, place, access, stop)
    with contextlib.ExitStack() as stack:
        stack.callback(file.close)
        container = sniff(file.head())
        if container == "m3u8":
            raise SourceError("wrong type: playlists are read from http(s) and s3 only")
        demux = apart(stop, readers) if source.kind == "library" else Demuxer
        media = FileMedia(file, container, demux=mp4_or(flv_or(demux)))
        stack.pop_all()
    return media


def open_picture(source: Source, access: Access, stop: Event, cache: PictureCache) -> Picture:
    """Return a watermark, fetched once per location. Raise SourceError."""
    place = _place(source, access)
    name = f"{access.account} {source.kind} {source.credentials} {place}"
    known = cache.known(name)
    if known is not None:
        return known
    if source.kind in {"url", "s3"}:
        cache.check(name)
        try:
            data = _Remote(source, place, access, stop).small(access.limits.picture)
        except SourceError as error:
            cache.failed(name, error)
            raise
    else:
        file = _local(source, place, access, stop)
        data = _all(file, access.limits.picture)
    return cache.add(name, data, access.limits.side)


class _Remote:
    """A file by URL or in a bucket, and the client that reads it and the files that it refers to."""

    def __init__(
        self,
        source: Source,
        place: str,
        access: Access,
        stop: Event,
        tell: Tell = lambda _: None,
        readers: Family | None = None,
    ) -> None:
        self._access = access
        self._readers = readers
        self._tell = tell
        self._stop = stop
        self._client: httpx.Client = guarded_client(access.allowed, access.limits, stop, access.tls)
        try:
            self._bucket, self._key = "", ""
            self._sign: Sign | None = None
            if source.kind == "s3":
                self._bucket, self._key, self._sign = _bucket_of(source, access, place, stop)
        except BaseException:
            self._client.close()
            raise
        self._url = place

    def media(self) -> Media:
        """Open the file as the type that its first bytes show."""
        try:
            return self._opened()
        except BaseException:
            self._client.close()
            raise

    def small(self, most: int) -> bytes:
        """Return the whole file, without a long wait, and close the client."""
        try:
            return _all(SequentialFile(self._origin(hurried=True)), most, self._access.limits.patience)
        finally:
            self._client.close()

    def _opened(self) -> Media:
        limits = self._access.limits
        origin = self._origin(first=limits.block)
        seekable = origin.ranged and origin.size is not None
        file: Readable = BlockFile(origin, limits) if seekable else SequentialFile(origin)
        try:
            container = sniff(file.head())
            if container == "m3u8":
                segments = self._segments(file)
                listed = Listed(
                    origin.where, segments, lambda url, *more: self._asked(lambda: url, *more), self._playlist
                )  # fmt: skip
                opener = self._part if self._sign else listed.open
                demux = apart(self._stop, self._readers)
                return PlaylistMedia(segments, opener, self._client.close, self._tell, demux)
            if not seekable and container == "mp4" and index_comes_late(file.head()):
                file, seekable = self._fetched(file, origin.size), True
            again = None if seekable else self._again
            demux = apart(self._stop, self._readers)
            media = FileMedia(file, container, again=again, release=self._client.close, demux=demux)
            if isinstance(file, BlockFile):
                file.hold()
        except BaseException:
            file.close()
            raise
        return media

    def _fetched(self, file: Readable, size: int | None) -> Readable:
        """Fetch a whole file that has its index at the end, from a server without ranges."""
        shown = "" if size is None else f" ({max(size >> 20, 1)} MiB)"
        self._tell(f"the server sends no ranges, and the mp4's index (moov) is at its end: it is fetched whole{shown}")
        return fetched(file, size, self._access.spool, self._access.limits.spool)

    def _again(self) -> Readable:
        return SequentialFile(self._origin())

    def _origin(self, first: int | None = None, *, hurried: bool = False) -> HttpOrigin:
        url = partial(self._address, self._key) if self._sign else lambda: self._url
        return self._asked(url, Bytes("", 0, first), hurried)

    def _address(self, key: str) -> str:
        return self._sign(self._bucket, key) if self._sign else ""

    def _part(self, place: Bytes, hurried: bool) -> HttpOrigin:
        """Open a file of a playlist in a bucket, by its URI relative to the playlist's key."""
        path = urlsplit(resolved(f"http://bucket/{quote(self._key)}", place.uri))
        if path.netloc != "bucket":
            raise SourceError("a playlist in a bucket may name objects of this bucket only")
        return self._asked(partial(self._address, unquote(path.path).removeprefix("/")), place, hurried)

    def _playlist(self) -> tuple[str, tuple[Segment, ...]]:
        """Read a playlist again; return its URL and its segments."""
        origin = self._origin()
        return origin.where, self._segments(SequentialFile(origin))

    def _segments(self, file: Readable) -> tuple[Segment, ...]:
        limits = self._access.limits
        return parse_playlist(_all(file, limits.playlist).decode("utf-8", "replace"), limits.segments)

    def _asked(self, url: Callable[[], str], place: Bytes, hurried: bool) -> HttpOrigin:
        limits = replace(self._access.limits, tries=1) if hurried else self._access.limits
        return HttpOrigin(
            url, self._client, self._access.allowed, limits, self._trouble(limits),
            start=place.start, first=place.length,
        )  # fmt: skip

    def _trouble(self, limits: Limits) -> Callable[[], Trouble]:
        return partial(Trouble, limits, self._stop, self._access.restream)


def _bucket_of(source: Source, access: Access, place: str, stop: Event) -> tuple[str, str, Sign]:
    """Return bucket, key, and the function that signs URLs for them."""
    from services.restreamer.sources.origins.s3 import signer, split_place  # noqa: PLC0415  boto3 takes 0.3 s to import

    return *split_place(place), signer(access, source.credentials, stop)


def _place(source: Source, access: Access) -> str:
    try:
        return open_url(access.vault, source.place)
    except SecretUnreadable as error:
        raise SourceError("the source's place does not open with this SECRET_KEY") from error


def _id(text: str) -> str:
    if not ID.fullmatch(text):
        raise SourceError("an id has 32 hex digits")
    return text


def _local(source: Source, place: str, access: Access, stop: Event) -> Readable:
    """Open a file of the library, or a clip's current file."""
    if source.kind == "library":
        if not NAME.fullmatch(place):
            raise SourceError("there is no such file in the library")
        if not isinstance(access.store, LocalStore):
            missing = "there is no such file in the library"
            origin = StoreOrigin(access.store, library_key(access.account, place), access.limits, stop, missing)
            return BlockFile(origin, access.limits)
        return LocalFile(_open(access.library / access.account / place, "there is no such file in the library"))
    clips, key = Bucket(access.js, buckets.CLIPS, ClipRecord), f"{access.account}.{_id(place)}"
    found = access.ask(lambda _: clips.get(key), stop)
    if found is None:
        raise SourceError("there is no such clip")
    if found.value.file is None:
        raise SourceError("the clip has no file yet", lasting=found.value.state in {"failed", "cancelled", "error"})
    key = check_key(found.value.file.key)
    if isinstance(access.store, LocalStore):
        return LocalFile(_open(access.store.path(key), "the clip's file is gone"))
    return BlockFile(StoreOrigin(access.store, key, access.limits, stop), access.limits)


def _open(path: os.PathLike[str], otherwise: str) -> int:
    """Open a regular file, not following a symbolic link."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise SourceError(otherwise) from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise SourceError(otherwise)
    return handle


def _all(file: Readable, most: int, within: timedelta | None = None) -> bytes:
    """Return a whole file of at most `most` bytes, read `within` about a time, and close it."""
    data = bytearray()
    began = time.monotonic()
    try:
        while piece := file.read(1 << 16):
            data += piece
            if within is not None and time.monotonic() - began > within.total_seconds():
                raise SourceError(f"it did not come within {within.total_seconds():g} s", lasting=False)
            if len(data) > most:
                raise SourceError(f"the file is larger than {most} bytes")
    finally:
        file.close()
    return bytes(data)


class Sources:
    """All sources of an account, for playout."""

    def __init__(
        self, access: Access, pictures: PictureCache, tell: Tell = lambda _: None, readers: Keep | None = None
    ) -> None:
        self._access = access
        self._readers = readers or Keep()
        self._pictures = pictures
        self._tell = tell

    def telling(self, tell: Tell) -> Sources:
        """Return the same sources, but with another `tell`."""
        return Sources(self._access, self._pictures, tell, self._readers)

    def close(self) -> None:
        """End the children that are kept for the next files."""
        self._readers.close()

    def open(self, source: Source, stop: Event) -> Media:
        """Open a source."""
        return open_media(source, self._access, stop, self._tell, self._readers)

    def picture(self, source: Source, stop: Event) -> Picture:
        """Return a watermark."""
        return open_picture(source, self._access, stop, self._pictures)
