"""One track of a segment, cut out of it when it is asked for (ADR 29): for players that choose among sound tracks.

Parts are written as `shared/media/mp4/fragments.py` does: offsets from the moof, one run a track, sizes in the rows.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Final

from shared.media.mp4.boxes import Box, Mp4Error, box, children, full_box, need, unpack
from shared.media.mp4.init import build_init
from shared.media.segment_head import read_head
from shared.media.tracks import TrackConfig

_BASE_IS_MOOF, _EMPTY = 0x020000, 0x010000
_OFFSET, _FIRST_FLAGS, _SIZE = 0x1, 0x4, 0x200
_ROW_FIELDS: Final = (0x100, _SIZE, 0x400, 0x800)


def selected_init(tracks: Sequence[TrackConfig], number: int) -> bytes:
    """Build an init segment of one track alone; Mp4Error when there is none of that id."""
    return build_init([track_of(tracks, number)])


def track_of(tracks: Sequence[TrackConfig], number: int) -> TrackConfig:
    """Return the track of an id; Mp4Error when there is none."""
    found = next((track for track in tracks if track.track_id == number), None)
    if found is None:
        raise Mp4Error(f"no track {number}")
    return found


def selected_segment(data: bytes, track: TrackConfig) -> bytes:
    """Return a segment with the samples of one track alone. Where it has none, a part says so. Mp4Error."""
    out: list[bytes] = []
    kept = False
    moof: Box | None = None
    for found in children(data):
        if found.kind == b"moof":
            moof = found
        elif found.kind != b"mdat":
            out.append(data[found.start : found.end])
        elif moof is not None and (part := _part(data, moof, track.track_id)):
            out += part
            kept = True
    return b"".join(out if kept else (*out, _empty(data, track)))


def _part(data: bytes, moof: Box, number: int) -> tuple[bytes, bytes] | None:
    """Build the moof and mdat of one track's samples; None when the part has none."""
    head = need(data, moof, b"mfhd")
    for traf in (found for found in children(data, moof.body, moof.end) if found.kind == b"traf"):
        tfhd, trun = need(data, traf, b"tfhd"), need(data, traf, b"trun")
        flags, track = unpack("II", data, tfhd.body, tfhd.end)
        if track != number:
            continue
        run_flags, count, offset = unpack("IIi", data, trun.body, trun.end)
        if not flags & _BASE_IS_MOOF or not run_flags & _OFFSET or not run_flags & _SIZE:
            raise Mp4Error("a part is not in our form")
        size = sum(_sizes(data, trun, run_flags & 0xFFFFFF, count))
        begin = moof.start + offset
        if begin < 0 or begin + size > len(data):
            raise Mp4Error("a sample lies outside its segment")
        made = bytearray(data[traf.start : traf.end])
        length = 8 + (head.end - head.start) + len(made)
        struct.pack_into(">i", made, trun.body - traf.start + 8, length + 8)
        return box(b"moof", data[head.start : head.end], bytes(made)), box(b"mdat", data[begin : begin + size])
    return None


def _sizes(data: bytes, trun: Box, flags: int, count: int) -> Iterator[int]:
    fields = [field for field in _ROW_FIELDS if flags & field]
    at = trun.body + 12 + (4 if flags & _FIRST_FLAGS else 0)
    rows = unpack(f"{len(fields) * count}I", data, at, trun.end)
    return iter(rows[fields.index(_SIZE) :: len(fields)])


def _empty(data: bytes, track: TrackConfig) -> bytes:
    """Build a part that says that a track has nothing here (8.8.7.1, duration-is-empty)."""
    head = read_head(data)
    start = head.start * track.timescale // head.timescale
    tfhd = full_box(b"tfhd", 0, _BASE_IS_MOOF | _EMPTY, struct.pack(">I", track.track_id))
    traf = box(b"traf", tfhd, full_box(b"tfdt", 1, 0, struct.pack(">Q", start)))
    moof = box(b"moof", full_box(b"mfhd", 0, 0, struct.pack(">I", head.sequence + 1)), traf)
    return moof + box(b"mdat")
