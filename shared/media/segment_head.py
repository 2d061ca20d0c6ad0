"""A segment's head: describes the segment before its first part, so that it can be recovered from its bytes alone.

A `styp` (ISO/IEC 14496-12, 8.16.2), a `prft` with the wall clock of its start (8.16.5), and a `uuid` box of ours with
sequence, init number, start, timescale, and flags: 1 for a discontinuity, 2 for a segment that is not independent.
An encrypted segment has one more, which names its key (ADR 34). Players skip boxes that they do not know.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from shared.media.cenc.clear import kid_box, segment_kid
from shared.media.mp4.boxes import Mp4Error, box, children, full_box, unpack

UUID = bytes.fromhex("b6c2f0d18f6e4c1f9a3d52656c617931")
_NTP_EPOCH_MS = 2_208_988_800_000  # 1900 to 1970
# NTP's seconds restart from 0 in 2036 (RFC 5905, section 6).
_ERA_S, _YEAR_2000_S = 1 << 32, 3_155_673_600
_OURS = struct.Struct(">16sIIQIB")
STYP = box(b"styp", b"msdh", bytes(4), b"msdhcmfs")


@dataclass(frozen=True, slots=True)
class SegmentHead:
    """A head's content; `start` is in ticks of `timescale`."""

    sequence: int
    init_number: int
    start: int
    timescale: int
    wall_start_ms: int
    discontinuity: bool
    track_id: int = 1
    independent: bool = True
    kid: bytes = b""


def build_head(head: SegmentHead) -> bytes:
    """Build the boxes before a segment's first part."""
    since_1900 = head.wall_start_ms + _NTP_EPOCH_MS
    ntp = since_1900 // 1000 % _ERA_S << 32 | ((since_1900 % 1000 << 32) + 500) // 1000
    flags = head.discontinuity | (not head.independent) << 1
    prft = full_box(b"prft", 1, 0, struct.pack(">IQQ", head.track_id, ntp, head.start))
    ours = _OURS.pack(UUID, head.sequence, head.init_number, head.start, head.timescale, flags)
    return STYP + prft + box(b"uuid", ours) + (kid_box(head.kid) if head.kid else b"")


def read_head(data: bytes) -> SegmentHead:
    """Read the head back; Mp4Error when it is not one of ours."""
    wall_ms: int | None = None
    track_id = 1
    for found in children(data):
        if found.kind == b"prft":
            track_id, ntp = unpack("IQ", data, found.body + 4, found.end)
            seconds = ntp >> 32
            seconds += _ERA_S if seconds < _YEAR_2000_S else 0
            wall_ms = seconds * 1000 + ((ntp & 0xFFFFFFFF) * 1000 + (1 << 31) >> 32) - _NTP_EPOCH_MS
        elif found.kind == b"uuid" and found.end - found.body == _OURS.size and wall_ms is not None:
            name, sequence, init, start, scale, flags = _OURS.unpack_from(data, found.body)
            if name == UUID and scale:
                told = bool(flags & 1), track_id, not flags & 2
                return SegmentHead(sequence, init, start, scale, wall_ms, *told, segment_kid(data))
    raise Mp4Error("segment without a head of ours")
