"""Writing fragments: a part is `moof mdat` (ISO/IEC 14496-12, 8.8), with offsets from its own moof."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from shared.media.cenc.seal import Auxiliary, Sealer
from shared.media.mp4.read import FragmentTables, read_fragments
from shared.media.tracks import TrackConfig

__all__ = ["FragmentTables", "FragmentWriter", "Sample", "read_fragments"]

SYNC, NON_SYNC = 0x02000000, 0x01010000  # sample flags: depends on none; depends on others and is no sync sample
TFHD_BASE_IS_MOOF, TFHD_FLAGS = 0x020000, 0x20
TRUN_OFFSET, TRUN_DURATION, TRUN_SIZE, TRUN_FLAGS, TRUN_CTS = 0x1, 0x100, 0x200, 0x400, 0x800
VIDEO_RUN = TRUN_OFFSET | TRUN_DURATION | TRUN_SIZE | TRUN_FLAGS | TRUN_CTS
AUDIO_RUN = TRUN_OFFSET | TRUN_DURATION | TRUN_SIZE


class Sample(NamedTuple):
    """One coded frame; times are ticks of its track's timescale, the payload is in MP4's form."""

    dts: int
    pts: int
    duration: int
    sync: bool
    payload: bytes


class FragmentWriter:
    """Makes parts of fixed tracks, numbered from `sequence` on."""

    def __init__(self, tracks: Sequence[TrackConfig], sequence: int = 1) -> None:
        self._tracks = [(t.track_id, t.kind == "video") for t in tracks]
        self.sequence = sequence

    def part(self, samples: Mapping[int, Sequence[Sample]], sealer: Sealer | None = None) -> bytes:
        """Build one part; `samples` by track id, in decode order, each track without holes inside the part.

        A track without samples gets no traf. The mdat holds the tracks in the order they were declared, encrypted when
        there is a sealer.
        """
        present = [(track, video, samples[track]) for track, video in self._tracks if samples.get(track)]
        body = [s.payload for _, _, run in present for s in run]
        sealed: dict[int, Auxiliary] = {}
        if sealer is not None:
            body = []
            for track, _, run in present:
                made, sealed[track] = sealer.seal(track, [s.payload for s in run])
                body += made
        rows = sum((64 if video else 68) + (16 if video else 8) * len(run) for _, video, run in present)
        moof_size = 24 + rows + sum(told.size for told in sealed.values())
        out = [struct.pack(">I4sI4sII", moof_size, b"moof", 16, b"mfhd", 0, self.sequence)]
        at, offset = 24, moof_size + 8
        for track, video, run in present:
            traf = _traf(track, run, offset, video=video, sealed=sealed.get(track), at=at)
            out.append(traf)
            at += len(traf)
            offset += sum(len(s.payload) for s in run)
        self.sequence = (self.sequence + 1) & 0xFFFFFFFF
        return b"".join((*out, struct.pack(">I4s", sum(map(len, body)) + 8, b"mdat"), *body))


def _traf(track: int, run: Sequence[Sample], offset: int, *, video: bool, sealed: Auxiliary | None, at: int) -> bytes:
    """Build a traf of one run: 64 bytes and 16 per sample for video, 68 and 8 for audio, and what decrypting takes.

    `offset` and `at` are where its samples and the traf itself begin in the moof.
    """
    count = len(run)
    if video:
        rows = [v for dts, pts, duration, sync, payload in run
                for v in (duration, len(payload), SYNC if sync else NON_SYNC, (pts - dts) & 0xFFFFFFFF)]  # fmt: skip
        tfhd = struct.pack(">I4sII", 16, b"tfhd", TFHD_BASE_IS_MOOF, track)
        flags = 0x01000000 | VIDEO_RUN
    else:
        rows = [v for s in run for v in (s.duration, len(s.payload))]
        tfhd = struct.pack(">I4sIII", 20, b"tfhd", TFHD_BASE_IS_MOOF | TFHD_FLAGS, track, SYNC)
        flags = 0x01000000 | AUDIO_RUN
    size = 48 + len(tfhd) + 4 * len(rows)
    more = b"" if sealed is None else sealed.boxes(at + size)
    head = (
        struct.pack(">I4s", size + len(more), b"traf")
        + tfhd
        + struct.pack(">I4sIQ", 20, b"tfdt", 0x01000000, run[0].dts)
    )
    trun = struct.pack(">I4sIIi", 20 + 4 * len(rows), b"trun", flags, count, offset)
    return head + trun + struct.pack(f">{len(rows)}I", *rows) + more
