"""Runs the recorder over bytes in memory, and reads what it wrote."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from services.ingester.prospects import UNDECIDED, hopeful
from services.ingester.publication import Arrival, Batch, Frame
from services.ingester.recorder.loop import record
from services.ingester.recorder.model import RecorderLimits, SegmentInfo, Summary
from services.ingester.recorder.mpegts import TsDemuxer
from services.ingester.rtmp.frames import MediaFrames
from shared.media.cenc.key import ContentKey
from tests.support import media_flv as flv

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


Piece = bytes | int
"""Bytes, or a pause in ms before the next ones."""


def frames_of(
    kind: str, pieces: Iterable[Piece], clock: SteppedClock | None = None, undecided: int = UNDECIDED
) -> Iterator[Batch]:
    """Give the frames in the bytes of a file ("flv", "mpegts"), as a publication would give them."""
    clock = clock or SteppedClock()
    if kind == "flv":
        return hopeful(_published(pieces, clock), undecided=undecided)
    return hopeful(_demuxed(pieces, clock), clock, undecided)


def _demuxed(pieces: Iterable[Piece], clock: SteppedClock) -> Iterator[Batch]:
    demuxer = TsDemuxer()

    def batch(frames: list[Frame], size: int) -> Batch:
        return Batch(Arrival(clock.ns, clock.ms), frames, demuxer.contents, size, demuxer.damaged)

    for piece in pieces:
        if isinstance(piece, int):
            clock.pass_ms(piece)
        else:
            yield batch(demuxer.feed(piece), len(piece))
    yield batch(demuxer.flush(), 0)


def _published(pieces: Iterable[Piece], clock: SteppedClock) -> Iterator[Batch]:
    """Take the tags of an FLV file for the messages that they would be published as."""
    media = MediaFrames(track_wait_ns=0, hold=0, most=1 << 30)

    def batches() -> Iterator[Batch]:
        for frames, contents, size in media.take():
            yield Batch(Arrival(clock.ns, clock.ms), frames, contents, size, media.damaged)

    rest, begun = b"", False
    for piece in pieces:
        if isinstance(piece, int):
            clock.pass_ms(piece)
            continue
        rest += piece
        if not begun and len(rest) >= 13:
            begun = True
            names = {"audiocodecid": rest[4] & 4, "videocodecid": rest[4] & 1}
            media.metadata({name: 1.0 for name, flag in names.items() if flag})
            rest = rest[13:]
        while begun and len(rest) >= (whole := 15 + int.from_bytes(rest[1:4], "big")):
            if rest[0] in (flv.AUDIO, flv.VIDEO):
                time = int.from_bytes(rest[4:7], "big") | rest[7] << 24
                media.media(rest[0], time, bytearray(rest[11 : whole - 4]), clock.ns)
            rest = rest[whole:]
        yield from batches()
    media.finish()
    yield from batches()
    yield Batch(Arrival(clock.ns, clock.ms), [], media.contents, 0, media.damaged)


@dataclass
class Recorded:
    """A sink that keeps what it is told, and its folder."""

    folder: Path
    segments: list[SegmentInfo] = field(default_factory=list)
    first_frame_ms: list[int] = field(default_factory=list)
    lead: int = 0
    clock: SteppedClock = field(default_factory=SteppedClock)
    key: ContentKey | None = None

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
        pieces: Iterable[Piece],
        limits: RecorderLimits | None = None,
        undecided: int = UNDECIDED,
    ) -> Summary:
        return record(frames_of(kind, pieces, self.clock, undecided), self, self.place, limits, key=self.key)

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
