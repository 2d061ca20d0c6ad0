"""Open a source of a restream as a Media."""

from __future__ import annotations

import contextlib
from threading import Event

from services.restreamer.model import Media, SourceError
from services.restreamer.sources.access import Access
from services.restreamer.sources.apart.children import Family
from services.restreamer.sources.apart.demuxing import apart
from services.restreamer.sources.apart.kept import Keep
from services.restreamer.sources.containers.demux import Demuxer
from services.restreamer.sources.containers.file_media import FileMedia
from services.restreamer.sources.containers.sniff import sniff
from services.restreamer.sources.flv.demux import flv_or
from services.restreamer.sources.local import checked_id, local_file
from services.restreamer.sources.mp4.demux import mp4_or
from services.restreamer.sources.origins.files import read_all
from services.restreamer.sources.pictures import PictureCache, StillImage
from services.restreamer.sources.recorded.followed import FollowedJob
from services.restreamer.sources.recorded.live import LiveMedia
from services.restreamer.sources.recorded.recordings import RecordingMedia
from services.restreamer.sources.remote import Remote, Tell
from shared.messages.restreams import Source
from shared.security.secrets import SecretUnreadable
from shared.security.webhooks import open_url


def open_media(
    source: Source, access: Access, stop: Event, tell: Tell = lambda _: None, readers: Family | None = None
) -> Media:
    """Open a source for the calling thread; `stop` ends its waits. Raise SourceError, whose text holds no secret.

    `tell` is called with texts about problems that do not end the source; `readers` read untrusted files.
    """
    location = _location(source, access)
    if source.kind == "recording":
        return RecordingMedia(checked_id(location), access, stop)
    if source.kind == "live":
        return LiveMedia(checked_id(location), access, stop)
    if source.kind == "job":
        return FollowedJob(checked_id(location), access, stop)
    if source.kind in {"url", "s3"}:
        return Remote(source, location, access, stop, tell, readers).media()
    file = local_file(source, location, access, stop)
    with contextlib.ExitStack() as stack:
        stack.callback(file.close)
        container = sniff(file.head())
        if container == "m3u8":
            raise SourceError("wrong type: playlists are read from http(s) and s3 only")
        demux = apart(stop, readers) if source.kind == "library" else Demuxer
        media = FileMedia(file, container, demux=mp4_or(flv_or(demux)))
        stack.pop_all()
    return media


def open_picture(source: Source, access: Access, stop: Event, cache: PictureCache) -> StillImage:
    """Return a watermark, fetched once per location. Raise SourceError."""
    location = _location(source, access)
    name = f"{access.account} {source.kind} {source.credentials} {location}"
    known = cache.known(name)
    if known is not None:
        return known
    if source.kind in {"url", "s3"}:
        cache.check(name)
        try:
            data = Remote(source, location, access, stop).small(access.limits.picture)
        except SourceError as error:
            cache.failed(name, error)
            raise
    else:
        file = local_file(source, location, access, stop)
        data = read_all(file, access.limits.picture)
    return cache.add(name, data, access.limits.side)


def _location(source: Source, access: Access) -> str:
    try:
        return open_url(access.vault, source.location)
    except SecretUnreadable as error:
        raise SourceError("the source's location does not open with this SECRET_KEY") from error


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

    def picture(self, source: Source, stop: Event) -> StillImage:
        """Return a watermark."""
        return open_picture(source, self._access, stop, self._pictures)
