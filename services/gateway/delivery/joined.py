"""A range of a recording as one fragmented MP4: its segments as they lie in the store, with their times moved."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from fractions import Fraction
from typing import Final

from services.gateway.delivery.index.entries import IndexEntry
from services.gateway.delivery.parts import LARGEST_INIT, Delivery
from services.gateway.delivery.rebase import Laid, Layout, empty_slot, index_box, lead_of, moved, slot_size
from services.gateway.domain.errors import StateConflict, no_such
from services.gateway.http.files import Content, tag_of
from shared.errors import MediaError
from shared.media.tracks import TrackConfig
from shared.runtime.clock import rfc3339
from shared.store.base import MediaStore, ObjectMissing

LARGEST_SEGMENT: Final = 256 << 20
PIECE: Final = 1 << 19
FIRST: Final = -1  # the number of an entry without one


class Joined:
    """What a file begins with, and how each segment is moved: all that its bytes depend on."""

    def __init__(self, store: MediaStore, head: bytes, tracks: Sequence[TrackConfig], lead: Fraction) -> None:
        self._store = store
        self.head = head
        self.tracks = tracks
        self.lead = lead

    def segment(self, laid: Laid) -> bytes:
        """Return a segment's bytes with its times moved; ObjectMissing, Mp4Error. Blocks."""
        data = self._store.get(laid.entry.key, limit=LARGEST_SEGMENT)
        return moved(data, self.tracks, laid.shift + self.lead)

    def read(self, front: bytes, every: Sequence[Laid], offset: int, length: int) -> Iterator[bytes]:
        """Yield a range of the bytes of a file, one segment in memory at a time. Blocks."""
        at = len(front)
        if offset < at:
            piece = front[offset : offset + length]
            yield piece
            length -= len(piece)
            offset = at
        for laid in every:
            if length <= 0:
                return
            size = laid.entry.bytes
            if offset < at + size:
                data = self.segment(laid)
                if len(data) != size:
                    raise ObjectMissing(laid.entry.key)
                piece = data[offset - at : offset - at + length]
                yield from (piece[n : n + PIECE] for n in range(0, len(piece), PIECE))
                length -= len(piece)
                offset += len(piece)
            at += size


async def joined_from(delivery: Delivery, first: IndexEntry) -> Joined:
    """Return what a file that begins with a segment begins with; NotFound when that is gone."""
    tracks = await delivery.tracks_of(first.init_key)

    def read() -> Joined:
        head = delivery.store.get(first.init_key, limit=LARGEST_INIT)
        data = delivery.store.get(first.key, limit=LARGEST_SEGMENT)
        return Joined(delivery.store, head, tracks, lead_of(data, tracks, first))

    try:
        return await asyncio.to_thread(read)
    except (ObjectMissing, MediaError) as error:
        raise no_such("segment") from error


async def file_of(delivery: Delivery, entries: Sequence[IndexEntry], name: str, cache: str, most: int) -> Content:
    """Return a finished range as a file of known size, with an index of up to `most` segments.

    NotFound, StateConflict where codecs change.
    """
    await check_alike(delivery, entries)
    joined, layout = await joined_from(delivery, entries[0]), Layout()
    every = [layout.lay(entry) for entry in entries]
    video = next((track for track in joined.tracks if track.kind == "video"), joined.tracks[0])
    front = joined.head + index_box(video, every, slot_size(most))
    return Content(
        size=len(front) + sum(entry.bytes for entry in entries),
        tag=tag_of(*((entry.key, entry.bytes, entry.start) for entry in entries)),
        name=name,
        read=lambda offset, length: joined.read(front, every, offset, length),
        cache=cache,
        what="recording",
    )


async def check_alike(delivery: Delivery, entries: Iterable[IndexEntry]) -> None:
    """Raise StateConflict when codecs or sizes change in a range, which one file cannot hold."""
    first: Sequence[TrackConfig] | None = None
    seen: set[str] = set()
    for entry in entries:
        if entry.init_key in seen:
            continue
        seen.add(entry.init_key)
        tracks = await delivery.tracks_of(entry.init_key)
        if first is not None and tracks != first:
            moment = f"{rfc3339(entry.wall_start_ms)} ({entry.wall_start_ms // 1000})"
            raise StateConflict(f"the stream's codecs or sizes change at {moment}: ask for the parts, or for .m3u8")
        first = tracks


async def growing(delivery: Delivery, entries: AsyncIterator[IndexEntry], most: int) -> AsyncIterator[bytes]:
    """Yield a file of segments as they come, as `file_of` has it but for the index; NotFound without any.

    It ends with the segments, or where codecs change.
    """
    joined: Joined | None = None
    layout = Layout()
    async for entry in entries:
        if joined is None:
            joined = await joined_from(delivery, entry)
            yield joined.head + empty_slot(slot_size(most))
        elif await delivery.tracks_of(entry.init_key) != joined.tracks:
            return
        yield await asyncio.to_thread(joined.segment, layout.lay(entry))
