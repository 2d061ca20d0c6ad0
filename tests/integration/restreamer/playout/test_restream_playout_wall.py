"""Ranges by wall clock: the frames of that time play, over gaps, drift, and durations that do not tell the truth."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import pytest

from services.restreamer.sources import Access, open_media
from shared.messages.media import SegmentWritten
from shared.messages.restreams import Item, Range, Source
from tests.support.clipper_desk import Desk
from tests.support.framecode_record import Recording, Spec, encode, record
from tests.support.nats import NatsServer
from tests.support.playout_stage import Stage, spec
from tests.support.recordings import connected
from tests.support.shared_bus import settings_for
from tests.support.source_server import Server, source_server
from tests.support.sources import QUICK, access_to, source

BEGAN_MS = 1_714_550_400_577
RATE = Fraction(30)
HOUR_MS = 3_600_000
MOST = 10**6
SLOW_IN_TEST = "the output waits for it"  # the output runs faster than real time


@dataclass(frozen=True)
class Piece:
    """A segment of `frames` frames as a playlist tells it: its date, its duration in s, a discontinuity before it."""

    frames: int
    wall_ms: int | None
    told: str
    breaks: bool = False


def pieces(count: int, frames: int, *, step_ms: int = 0, told: str = "", begin_ms: int = 0) -> list[Piece]:
    """Make equal segments whose dates go on by `step_ms`; 0: only the first has one."""
    told = told or f"{float(frames / RATE):.6f}"
    dates = [BEGAN_MS + begin_ms + n * step_ms if step_ms or not n else None for n in range(count)]
    return [Piece(frames, date, told) for date in dates]


def broken(before: list[Piece], after: list[Piece]) -> list[Piece]:
    return [*before, replace(after[0], breaks=True), *after[1:]]


def wall_of(listed: Sequence[Piece]) -> list[Fraction]:
    """Tell the wall clock (ms) of each frame, by the last date before it; it is before the next date."""
    found: list[Fraction] = []
    at = Fraction(0)
    for piece in listed:
        if piece.wall_ms is not None:
            at = Fraction(piece.wall_ms)
            found = [min(before, at - 1) for before in found]
        found += [at + n * 1000 / RATE for n in range(piece.frames)]
        at += piece.frames * 1000 / RATE
    return found


TWO = {"frames": 60, "step_ms": 2000}
GAP = broken(pieces(2, **TWO), pieces(3, begin_ms=HOUR_MS, **TWO))
SLOW = pieces(5, frames=60, step_ms=2090)
QUICK_CLOCK = pieces(5, frames=60, step_ms=1910)
ROUNDED = pieces(8, frames=42, told="1")
ROUNDED_UP = pieces(8, frames=48, told="2")
ROUNDED_RUNS = broken(pieces(4, frames=42, told="1"), pieces(4, frames=42, told="1", begin_ms=HOUR_MS))
LISTS = {
    "gap": GAP, "slow": SLOW, "quick": QUICK_CLOCK, "rounded": ROUNDED, "rounded up": ROUNDED_UP,
    "rounded runs": ROUNDED_RUNS,
}  # fmt: skip
RANGES = [
    ("gap", [(1010, 3010)]),
    ("gap", [(3010, HOUR_MS + 2510)]),  # over it
    ("gap", [(HOUR_MS + 1010, HOUR_MS + 5010)]),  # behind it
    ("gap", [(60_000, HOUR_MS + 1010)]),  # from it
    ("gap", [(2010, 60_000)]),  # into it
    ("gap", [(2010, 60_000), (120_000, HOUR_MS + 510), (HOUR_MS + 4510, HOUR_MS + 9000)]),
    ("slow", [(6300, 8380)]),
    ("slow", [(2010, 6299)]),
    ("slow", [(2089, 4179), (6350, 9010)]),  # between a segment's last frame and the next one's date
    ("quick", [(1000, 7000)]),
    ("quick", [(5740, 7650)]),
    ("rounded", [(9010, 10_310)]),
    ("rounded", [(1010, 8010)]),
    ("rounded up", [(9010, 10_310)]),
    ("rounded runs", [(2010, 60_000)]),
    ("rounded runs", [(2010, HOUR_MS + 4010)]),
    ("rounded runs", [(60_000, 120_000), (HOUR_MS + 10, HOUR_MS + 4010)]),
    ("rounded runs", [(5010, HOUR_MS + 1090), (HOUR_MS + 3010, HOUR_MS + 5590)]),
]  # fmt: skip


def ranges(asked: Sequence[tuple[int, int]], began_ms: int = BEGAN_MS) -> tuple[Range, ...]:
    return tuple(Range(clock="wall", start=began_ms + start, end=began_ms + end) for start, end in asked)


def expected(asked: Sequence[Range], walls: Sequence[Fraction]) -> list[int]:
    """Tell which frames belong to ranges; half a millisecond is what a point in ms cannot tell."""
    half = Fraction(1, 2)
    return [n for part in asked for n, at in enumerate(walls) if part.start - half <= at < (part.end or MOST) - half]


def play(kept: Source, access: Access, asked: tuple[Range, ...]) -> Stage:
    stage = Stage(speed=32)
    stage.shelf.lives[kept.location] = lambda stop: open_media(kept, access, stop)
    stage.play(spec(Item(source=kept, ranges=asked)))
    return stage


@pytest.fixture
def server() -> Iterator[Server]:
    with source_server() as made:
        yield made


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("films")


def serve(server: Server, films: Path, name: str, listed: Sequence[Piece]) -> str:
    """Encode as many frames as a list has, in segments of its length, and serve them as the list tells them."""
    frames, folder = listed[0].frames, films / f"{listed[0].frames}-{len(listed)}"
    if not folder.exists():
        folder.mkdir()
        hls = ("-f", "hls", "-hls_time", str(float(frames / RATE)), "-hls_playlist_type", "vod")
        made = Spec(seconds=len(listed) * frames / RATE, gop=frames, options=hls, audio=None)
        encode(made, folder / "list.m3u8")
    names = re.findall(r"^[^#\n].*$", (folder / "list.m3u8").read_text(), re.MULTILINE)
    lines = ["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:3"]
    for piece, file in zip(listed, names, strict=True):
        server.put(f"/{name}/{file}", (folder / file).read_bytes())
        if piece.breaks:
            lines.append("#EXT-X-DISCONTINUITY")
        if piece.wall_ms is not None:
            at = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=piece.wall_ms)
            lines.append(f"#EXT-X-PROGRAM-DATE-TIME:{at.isoformat(timespec='milliseconds')}")
        lines += [f"#EXTINF:{piece.told},", file]
    return server.put(f"/{name}/list.m3u8", "\n".join([*lines, "#EXT-X-ENDLIST", ""]).encode())


@pytest.mark.parametrize(("name", "asked"), RANGES)
def test_over_a_playlist_the_frames_of_that_time_play(
    server: Server, films: Path, tmp_path: Path, name: str, asked: list[tuple[int, int]]
) -> None:
    url = serve(server, films, name.replace(" ", "-"), LISTS[name])
    wanted = ranges(asked)
    stage = play(source("url", url), access_to(tmp_path), wanted)
    assert stage.numbers() == expected(wanted, wall_of(LISTS[name]))
    assert all(SLOW_IN_TEST in warning for warning in stage.warnings())
    stage.check()


@pytest.mark.parametrize("lost", ["missing", "silent"])
def test_a_segment_that_cannot_be_looked_at_is_taken_as_it_is_told(
    server: Server, films: Path, tmp_path: Path, lost: str
) -> None:
    url = serve(server, films, "lost", SLOW)
    [last] = [file for path, file in server.files.items() if path.endswith("4.ts")]
    last.mode = lost  # type: ignore[assignment]
    wanted = ranges([(2100, 8370)])
    stage = play(source("url", url), access_to(tmp_path), wanted)
    assert stage.numbers() == [n for n in expected(wanted, wall_of(SLOW)) if n < 240]


SIX = Spec(seconds=Fraction(6))
RECORDED = [
    [(1010, 4990)],  # over the drift
    [(4310, 6290)],
    [(4310, HOUR_MS + 3010)],  # over the gap
    [(2110, 60_000)],  # into it
    [(60_000, HOUR_MS + 3010)],  # from it
    [(1_800_000, 1_801_000), (HOUR_MS + 2310, HOUR_MS + 4210)],
    [(HOUR_MS + 4490, HOUR_MS + 9000)],  # to the end
]
DRIFT_MS = 150  # a segment


def drifting(segments: list[SegmentWritten]) -> list[SegmentWritten]:
    return [s.model_copy(update={"wall_start_ms": s.wall_start_ms + DRIFT_MS * s.sequence}) for s in segments]


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recording, Recording]:
    folder = tmp_path_factory.mktemp("recordings")
    return record(SIX, folder / "first"), record(replace(SIX, first_number=180), folder / "second")


@pytest.fixture
async def desk(nats: NatsServer, tmp_path: Path) -> AsyncIterator[Desk]:
    async with connected(nats.url) as js:
        yield Desk(js, settings_for(nats, tmp_path))


@pytest.mark.parametrize("asked", RECORDED)
async def test_over_a_recording_the_frames_of_that_time_play(
    desk: Desk, sessions: tuple[Recording, Recording], asked: list[tuple[int, int]]
) -> None:
    """Two sessions an hour apart, of three segments each; the encoder's clock is slow by 7 %."""
    first, second = (
        drifting(desk.session(recording, at)) for recording, at in zip(sessions, (0, HOUR_MS), strict=True)
    )
    await desk.announce([*first, *second])
    limits = replace(QUICK, patience=timedelta(seconds=10))
    loop = asyncio.get_running_loop()
    access = access_to(desk.settings.data_dir, js=lambda: desk.js, loop=loop, store=desk.store, limits=limits)
    wanted = ranges(asked, desk.begun_ms)
    stage = await asyncio.to_thread(play, source("recording", desk.event), access, wanted)
    walls = [s.wall_start_ms + n * 1000 / RATE for s in [*first, *second] for n in range(60)]
    assert stage.numbers() == expected(wanted, walls)
    missed = any(not expected([part], walls) for part in wanted)
    warnings = [warning for warning in stage.warnings() if SLOW_IN_TEST not in warning]
    assert warnings == ["the file has nothing to show there"] * missed
