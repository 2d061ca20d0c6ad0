"""Runs the recorder over bytes in memory, and reads what it wrote."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from services.ingester.recorder.loop import record
from services.ingester.recorder.model import RecorderLimits, SegmentInfo, Summary

START_MS = 1_700_000_000_000


class SteppedClock:
    """A clock that moves only in steps that a test makes."""

    def __init__(self) -> None:
        self.ms = START_MS
        self.ns = 5_000_000_000

    def now_ms(self) -> int:
        return self.ms

    def monotonic_ns(self) -> int:
        return self.ns

    def pass_ms(self, ms: int) -> None:
        self.ms += ms
        self.ns += ms * 1_000_000


class Bytes:
    """A source of bytes in pieces; a piece may also be a pause in ms, or a function to call."""

    def __init__(self, kind: str, pieces: Iterable[bytes | int | Callable[[], None]], clock: SteppedClock) -> None:
        self.format = kind
        self._pieces: Iterator[bytes | int | Callable[[], None]] = iter(pieces)
        self._clock = clock

    def read(self, size: int = -1, /) -> bytes:
        for piece in self._pieces:
            if isinstance(piece, int):
                self._clock.pass_ms(piece)
            elif isinstance(piece, bytes):
                return piece
            else:
                piece()
        return b""


@dataclass
class Recorded:
    """A sink that keeps what it is told, and its folder."""

    folder: Path
    segments: list[SegmentInfo] = field(default_factory=list)
    first_frame_ms: list[int] = field(default_factory=list)
    lead: int = 0
    clock: SteppedClock = field(default_factory=SteppedClock)
    stop: threading.Event = field(default_factory=threading.Event)

    def started(self, first_frame_ms: int, lead: int) -> None:
        self.first_frame_ms.append(first_frame_ms)
        self.lead = lead

    def segment(self, info: SegmentInfo) -> None:
        self.segments.append(info)

    def place(self, name: str) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / name

    def run(
        self,
        kind: str,
        pieces: Iterable[bytes | int | Callable[[], None]],
        limits: RecorderLimits | None = None,
    ) -> Summary:
        source = Bytes(kind, pieces, self.clock)
        return record(source, self, self.place, self.clock, self.stop, limits)

    def init(self, number: int = 0) -> Path:
        return self.folder / f"init-{number}.mp4"

    def joined(self, segments: Iterable[SegmentInfo] | None = None) -> Path:
        """Put an init segment and (all) segments that belong to it into one file."""
        chosen = list(self.segments if segments is None else segments)
        numbers = {s.init_number for s in chosen}
        assert len(numbers) == 1
        out = self.folder / f"joined-{numbers.pop()}.mp4"
        out.write_bytes(self.init(chosen[0].init_number).read_bytes() + b"".join(s.path.read_bytes() for s in chosen))
        return out


def undated(segments: Iterable[SegmentInfo]) -> list[SegmentInfo]:
    """Remove dates: a file has the date as first estimated, its message the corrected one."""
    return [replace(s, wall_start_ms=0) for s in segments]


def pieces(data: bytes, size: int = 40_000) -> list[bytes]:
    """Cut bytes into pieces as a network would."""
    return [data[at : at + size] for at in range(0, len(data), size)]
