"""Open a file by URL or in a bucket, as the type that its first bytes show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from threading import Event
from urllib.parse import quote, unquote, urlsplit

import httpx

from services.restreamer.model import Media, SourceError
from services.restreamer.sources.access import Access, Limits
from services.restreamer.sources.apart.children import Family
from services.restreamer.sources.apart.demuxing import apart
from services.restreamer.sources.containers.file_media import FileMedia
from services.restreamer.sources.containers.sniff import index_comes_late, sniff
from services.restreamer.sources.origins.files import BlockFile, Readable, SequentialFile, read_all
from services.restreamer.sources.origins.http import guarded_client
from services.restreamer.sources.origins.remote import HttpOrigin, resolved
from services.restreamer.sources.origins.spool import fetched
from services.restreamer.sources.origins.trouble import Trouble
from services.restreamer.sources.playlists.hls import PlaylistMedia
from services.restreamer.sources.playlists.listed import Listed
from services.restreamer.sources.playlists.playlist import Bytes, Segment, parse_playlist
from shared.messages.restreams import Source

Sign = Callable[[str, str], str]
Tell = Callable[[str], None]


class Remote:
    """A file by URL or in a bucket, and the client that reads it and the files that it refers to."""

    def __init__(
        self,
        source: Source,
        location: str,
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
                self._bucket, self._key, self._sign = _bucket_of(source, access, location, stop)
        except BaseException:
            self._client.close()
            raise
        self._url = location

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
            return read_all(SequentialFile(self._origin(hurried=True)), most, self._access.limits.patience)
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

    def _part(self, byte_range: Bytes, hurried: bool) -> HttpOrigin:
        """Open a file of a playlist in a bucket, by its URI relative to the playlist's key."""
        path = urlsplit(resolved(f"http://bucket/{quote(self._key)}", byte_range.uri))
        if path.netloc != "bucket":
            raise SourceError("a playlist in a bucket may name objects of this bucket only")
        return self._asked(partial(self._address, unquote(path.path).removeprefix("/")), byte_range, hurried)

    def _playlist(self) -> tuple[str, tuple[Segment, ...]]:
        """Read a playlist again; return its URL and its segments."""
        origin = self._origin()
        return origin.where, self._segments(SequentialFile(origin))

    def _segments(self, file: Readable) -> tuple[Segment, ...]:
        limits = self._access.limits
        return parse_playlist(read_all(file, limits.playlist).decode("utf-8", "replace"), limits.segments)

    def _asked(self, url: Callable[[], str], byte_range: Bytes, hurried: bool) -> HttpOrigin:
        limits = replace(self._access.limits, tries=1) if hurried else self._access.limits
        return HttpOrigin(
            url, self._client, self._access.allowed, limits, self._trouble(limits),
            start=byte_range.start, first=byte_range.length,
        )  # fmt: skip

    def _trouble(self, limits: Limits) -> Callable[[], Trouble]:
        return partial(Trouble, limits, self._stop, self._access.restream)


def _bucket_of(source: Source, access: Access, location: str, stop: Event) -> tuple[str, str, Sign]:
    """Return bucket, key, and the function that signs URLs for them."""
    from services.restreamer.sources.origins.s3 import signer, split_location  # noqa: PLC0415  boto3 takes 0.3 s to import

    return *split_location(location), signer(access, source.credentials, stop)
