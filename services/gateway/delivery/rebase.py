"""Moves the times of segments, so that several sessions follow each other in one file (ISO/IEC 14496-12, 8.8)."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from services.gateway.delivery.index.entries import IndexEntry
from shared.media.mp4.boxes import Mp4Error, children, full_box, need, unpack
from shared.media.timeline import joins
from shared.media.tracks import TrackConfig

SEAM: Final = Fraction(1, 5)
"""Between two runs: sound ends later than pictures by their reordering and a frame, and no time may go back."""
MOST_REFERENCES: Final = 0xFFFF
_SIDX, _REFERENCE, _FREE = 40, 12, 8
_LATEST: Final = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Laid:
    """A segment, and what is added to its times (s); `seam`: it does not continue the one before."""

    entry: IndexEntry
    shift: Fraction
    seam: bool


class Layout:
    """Lays segments out one after the other: gaps between them are closed."""

    def __init__(self) -> None:
        self._before: IndexEntry | None = None
        self._shift = Fraction(0)

    def lay(self, entry: IndexEntry) -> Laid:
        """Return the next segment with its shift; the first one begins at 0."""
        before, start = self._before, Fraction(entry.start, entry.timescale)
        seam = before is not None and not joins(before, entry)
        if before is None:
            self._shift = -start
        elif seam:
            ended = Fraction(before.start + before.duration, before.timescale) + self._shift
            self._shift = ended + SEAM - start
        self._before = entry
        return Laid(entry, self._shift, seam)


def lead_of(data: bytes, tracks: Sequence[TrackConfig], entry: IndexEntry) -> Fraction:
    """Return how long (s) before a segment's start its first sample is decoded; negative when it is after."""
    first = _first_times(data)
    times = [Fraction(first[t.track_id], t.timescale) for t in tracks if t.track_id in first]
    if not times:
        raise Mp4Error("segment without a known track")
    return Fraction(entry.start, entry.timescale) - min(times)


def moved(data: bytes, tracks: Sequence[TrackConfig], shift: Fraction) -> bytes:
    """Return a segment with `shift` (s) added to its decode times, of the same size; Mp4Error.

    An index of its own (sidx), which would no longer be right, is blanked out.
    """
    scales = {track.track_id: track.timescale for track in tracks}
    made = bytearray(data)
    for found in children(data):
        if found.kind == b"sidx":
            made[found.start + 4 : found.start + 8] = b"free"
    for track, at, wide, time in _times(data):
        moved_to = min(max(time + round(shift * scales.get(track, 1)), 0), _LATEST if wide else 0xFFFFFFFF)
        struct.pack_into(">Q" if wide else ">I", made, at, moved_to)
    return bytes(made)


def _times(data: bytes) -> Iterator[tuple[int, int, bool, int]]:
    """Yield track, offset, whether it has 64 bits, and value of each tfdt."""
    for moof in (box for box in children(data) if box.kind == b"moof"):
        for traf in (box for box in children(data, moof.body, moof.end) if box.kind == b"traf"):
            tfhd, tfdt = need(data, traf, b"tfhd"), need(data, traf, b"tfdt")
            track = unpack("I", data, tfhd.body + 4, tfhd.end)[0]
            wide = unpack("B", data, tfdt.body, tfdt.end)[0] == 1
            time = unpack("Q" if wide else "I", data, tfdt.body + 4, tfdt.end)[0]
            yield track, tfdt.body + 4, wide, time


def _first_times(data: bytes) -> Mapping[int, int]:
    found: dict[int, int] = {}
    for track, _, _, time in _times(data):
        found.setdefault(track, time)
    return found


def slot_size(most: int) -> int:
    """Return the bytes that are set aside for an index of up to `most` segments."""
    return _SIDX + _REFERENCE * min(most, MOST_REFERENCES) + _FREE


def empty_slot(size: int) -> bytes:
    """Return a box of a size that says nothing."""
    return struct.pack(">I4s", size, b"free") + bytes(size - _FREE)


def index_box(track: TrackConfig, laid: Iterable[Laid], slot: int) -> bytes:
    """Build the index (sidx, 8.16.3) of segments that follow its slot at once; nothing when they are too many for it.

    A file that grows has the same bytes but those in the slot, so that a download of it can be resumed.
    """
    every = list(laid)
    size = _SIDX + _REFERENCE * len(every)
    if (
        not every
        or size + _FREE > slot
        or len(every) > MOST_REFERENCES
        or any(one.entry.bytes >= 1 << 31 for one in every)
    ):
        return empty_slot(slot)
    starts = [one.shift + Fraction(one.entry.start, one.entry.timescale) for one in every]
    last = every[-1].entry
    ends = [*starts[1:], starts[-1] + Fraction(last.duration, last.timescale)]
    rows: list[int] = []
    for one, start, end in zip(every, starts, ends, strict=True):
        length = round(end * track.timescale) - round(start * track.timescale)
        rows += [one.entry.bytes, max(length, 1), int(one.entry.independent) << 31 | int(one.entry.independent) << 28]
    head = struct.pack(">IIQQHH", track.track_id, track.timescale, 0, slot - size, 0, len(every))
    return full_box(b"sidx", 1, 0, head, struct.pack(f">{len(rows)}I", *rows)) + empty_slot(slot - size)
