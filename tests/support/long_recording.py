"""Recordings of hours, made of half a minute: the same segments again and again, each with its own times."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from shared.messages.media import SegmentWritten
from shared.store.local import LocalStore
from tests.support.framecode_record import Recording, Spec, record

ACCOUNT, EVENT, SESSION = "main", "e" * 32, "5" * 32
TURN = 32  # s: whole frames at 30 a second, whole segments, and 1,500 packets of 1,024 samples at 48 kHz
SPEC = Spec(seconds=Fraction(TURN + 4))
SEGMENT = 2
_SCALES = {1: 90_000, 2: 48_000}


@dataclass(frozen=True)
class Long:
    """A recording in a store."""

    store: LocalStore
    segments: tuple[SegmentWritten, ...]


def long_recording(folder: Path, length: int) -> Long:
    """Write a recording of `length` s, in whole turns."""
    of = record(SPEC, folder / "of")
    store = LocalStore(folder / "media")
    prefix = f"live/{EVENT}/{SESSION}/primary-1"
    store.put(f"{prefix}/init-0.mp4", of.init.read_bytes())
    return Long(store, tuple(_segments(of, store, prefix, -(-length // TURN))))


def _segments(of: Recording, store: LocalStore, prefix: str, turns: int) -> Iterator[SegmentWritten]:
    whole = of.segments[1 : 1 + TURN // SEGMENT]
    parts = [(segment, segment.path.read_bytes()) for segment in whole]
    zero, sequence = whole[0].start, 0
    for turn in range(turns):
        for segment, data in parts:
            key = f"{prefix}/{sequence:08d}.m4s"
            path = store.begin(key)
            path.write_bytes(moved(data, turn * TURN))
            yield SegmentWritten(
                account=ACCOUNT, event=EVENT, session=SESSION, sequence=sequence, key=key,
                init_key=f"{prefix}/init-0.mp4", start=segment.start + turn * TURN * 90_000,
                duration=segment.duration, timescale=90_000, origin_ms=0, zero=zero, lead=zero,
                wall_start_ms=sequence * SEGMENT * 1000, bytes=len(data), sha256="0" * 64,
                keyframes=(segment.start + turn * TURN * 90_000,),
            )  # fmt: skip
            sequence += 1


def moved(data: bytes, seconds: int) -> bytes:
    """Return a segment whose decode times are so much later (ISO/IEC 14496-12, 8.8.12)."""
    made, at = bytearray(data), 0
    while (at := data.find(b"tfdt", at)) >= 0:
        track = _track_before(data, at)
        wide = data[at + 4] == 1
        form = ">Q" if wide else ">I"
        time = struct.unpack_from(form, data, at + 8)[0] + seconds * _SCALES[track]
        struct.pack_into(form, made, at + 8, time)
        at += 8
    return bytes(made)


def _track_before(data: bytes, at: int) -> int:
    head = data.rfind(b"tfhd", 0, at)
    return int(struct.unpack_from(">I", data, head + 8)[0])
