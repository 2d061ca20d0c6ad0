"""Playout of origins that fail, dawdle or lie: what a player gets, read from the pictures, and what is told."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import product
from pathlib import Path

import pytest

from services.restreamer.model import FLICKS
from services.restreamer.playout import Ended
from services.restreamer.playout.order import ahead as searching
from services.restreamer.playout.player import Settings
from services.restreamer.sources import PictureCache, Sources
from shared.messages.restreams import Item, Watermark
from tests.support.framecode import ffmpeg
from tests.support.playout_files import Clip, make
from tests.support.playout_stage import TARGET, Stage, spec
from tests.support.playout_watched import steps
from tests.support.source_server import Mode, Server, source_server
from tests.support.sources import QUICK, access_to, source
from tests.support.waiting import wait_until

FRAMES = 300
SOON = Settings(first_pause=timedelta(milliseconds=20))
PATIENT = replace(QUICK, patience=timedelta(seconds=10))


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Ten seconds of numbered pictures."""
    return make(Clip(FRAMES, gop=30), tmp_path_factory.mktemp("film") / "film.mp4").read_bytes()


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Half a second, numbered from 500 on."""
    return make(Clip(15, 500, gop=30), tmp_path_factory.mktemp("short") / "short.mp4").read_bytes()


@pytest.fixture
def server() -> Iterator[Server]:
    with source_server() as made:
        yield made


def by_url(url: str, mark: Watermark | None = None) -> Item:
    shown = url.rsplit("/", 1)[-1]
    return Item(source=source("url", url).model_copy(update={"shown": shown}), watermark=mark)


def stage_of(folder: Path, limits: object = QUICK, speed: int = 8, settings: Settings = SOON) -> Stage:
    sources = Sources(access_to(folder, limits=limits), PictureCache())
    return Stage(shelf=sources, speed=speed, settings=settings)  # type: ignore[arg-type]


def make_fast(film: bytes, folder: Path) -> bytes:
    """Put the index of an mp4 before its pictures."""
    (folder / "late.mp4").write_bytes(film)
    command = [ffmpeg(), "-v", "error", "-y", "-i", str(folder / "late.mp4"), "-c", "copy", "-movflags", "+faststart"]
    subprocess.run([*command, str(folder / "fast.mp4")], check=True, timeout=60)
    return (folder / "fast.mp4").read_bytes()


def ended(stage: Stage) -> Ended:
    last = stage.reports[-1]
    assert isinstance(last, Ended)
    return last


def crossed(*cases: tuple[object, object], always: set[tuple[object, object]]) -> list[object]:
    """Give all pairs; those that are not run always are for `make soak`."""
    return [pytest.param(*case, marks=[] if case in always else [pytest.mark.soak]) for case in cases]


@pytest.mark.parametrize(("refusals", "mode"), crossed(*product((2, 8), ("", "plain")), always={(8, ""), (2, "plain")}))
def test_an_outage_in_mid_file_pauses_the_output_and_loses_nothing(
    server: Server, film: bytes, tmp_path: Path, mode: Mode, refusals: int
) -> None:
    fast = make_fast(film, tmp_path) if mode else film
    stage = stage_of(tmp_path, PATIENT)
    stage.player.start(spec(by_url(server.put("/a.mp4", fast, mode, breaks_at=len(fast) * 2 // 3))), (TARGET,))
    wait_until(lambda: server.refused >= refusals, 60)
    server.down = False
    stage.wait_for_end()
    assert not ended(stage).failed
    assert stage.numbers() == list(range(FRAMES))
    assert steps(stage.pictures) == {FLICKS // 30}
    stage.check()


def test_after_an_outage_that_lasts_the_next_file_plays(
    server: Server, film: bytes, short: bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lost = by_url(server.put("/a.mp4", make_fast(film, tmp_path), breaks_at=len(film) * 2 // 3))
    stage = stage_of(tmp_path)
    with source_server() as other:
        stage.play(spec(lost, by_url(other.put("/b.mp4", short))))
    numbers = stage.numbers()
    lost_at = len(numbers) - 15
    assert numbers[lost_at:] == list(range(500, 515))
    assert numbers[: lost_at - 3] == list(range(lost_at - 3))
    assert lost_at > 150
    assert [text for text in stage.warnings() if "connection" in text]
    assert "Traceback" not in "".join(capfd.readouterr())
    stage.check()


@pytest.mark.parametrize(
    ("mode", "loops"), crossed(*product(("missing", "busy"), (0, 24)), always={("missing", 24), ("busy", 0)})
)
def test_a_list_of_which_nothing_can_be_had_for_a_while_waits_and_uses_up_no_loop(
    server: Server, short: bytes, tmp_path: Path, loops: int, mode: Mode
) -> None:
    limits = replace(QUICK, patience=timedelta(milliseconds=300))
    stage = stage_of(tmp_path, limits)
    stage.player.start(spec(by_url(server.put("/a.mp4", short)), loops=loops), (TARGET,))
    stage.wait_for(15)
    for file in server.files.values():
        file.mode, file.times = mode, 10_000
    failed = len(stage.warnings())
    wait_until(lambda: len(stage.warnings()) >= failed + 6, 60)
    for file in server.files.values():
        file.mode = ""
    if loops:
        stage.wait_for_end()
        assert not ended(stage).failed
        assert stage.numbers() == [*range(500, 515)] * 24
    else:
        stage.wait_for(len(stage.pictures) + 60)
        stage.stop()
    assert not any(isinstance(report, Ended) and report.failed for report in stage.reports)


@pytest.mark.parametrize(("loops", "tries"), [(1, 1), (3, 1)])
def test_a_list_that_is_not_there_from_the_start_fails_at_once(
    server: Server, tmp_path: Path, loops: int, tries: int
) -> None:
    stage = stage_of(tmp_path)
    stage.play(spec(by_url(server.url("/none.mp4")), loops=loops))
    assert ended(stage).failed
    assert len(stage.warnings()) == tries


def test_a_list_that_has_played_fails_after_some_rounds(
    server: Server, short: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "MOST_ROUNDS", 4)
    stage = stage_of(tmp_path)
    stage.player.start(spec(by_url(server.put("/a.mp4", short)), loops=1000), (TARGET,))
    stage.wait_for(15)
    server.files["/a.mp4"].mode = "missing"
    stage.wait_for_end()
    assert ended(stage).failed
    assert "any more" in ended(stage).reason
    assert len(stage.warnings()) == 4


@pytest.mark.parametrize("order", ["short", "missing short", "short missing", "missing short missing", "short broken"])
@pytest.mark.parametrize("bframes", [0, 2])
def test_a_file_of_half_a_second_has_played(server: Server, tmp_path: Path, order: str, bframes: int) -> None:
    made = make(Clip(15, 500, bframes=bframes), tmp_path / "short")
    server.put("/short.mp4", made.read_bytes())
    server.put("/broken.mp4", b"\0\0\0\x18ftypisom" + bytes(999))
    stage = stage_of(tmp_path)
    stage.play(spec(*(by_url(server.url(f"/{name}.mp4")) for name in order.split())))
    assert not ended(stage).failed
    assert ended(stage).reason == ""
    assert stage.numbers() == list(range(500, 515))
    assert len(stage.warnings()) == len(order.split()) - 1


def test_only_the_missing_segment_is_missing_in_the_output(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "list"
    folder.mkdir()
    hls = ("-f", "hls", "-hls_time", "1", "-hls_playlist_type", "vod")
    make(Clip(180, gop=30, suffix=".m3u8", options=hls), folder / "list")
    for file in folder.iterdir():
        server.put(f"/x/{file.name}", file.read_bytes())
    server.files["/x/list2.ts"].mode = "missing"
    stage = stage_of(tmp_path)
    stage.play(spec(by_url(server.url("/x/list.m3u8"))))
    assert stage.numbers() == [*range(60), *range(90, 180)]
    assert stage.warnings() == [
        "segment 3 of the playlist (list2.ts): 127.0.0.1: it was not found (404); it is left out"
    ]
    assert not ended(stage).failed
    stage.check()


def test_a_source_that_comes_slowly_plays_as_it_comes_and_is_told_once(
    server: Server, tmp_path: Path, film: bytes
) -> None:
    """A third is held back until the first pictures have come and it was told that it is waited for.

    On a slow machine the file takes long to open, too, by the playout's quick clock: that may be told besides.
    """
    opening, slow = (
        f"the source {what}: the output waits for it"
        for what in ("answers slowly", "is slower than real time, or down")
    )
    fast = make_fast(film, tmp_path)
    url = server.put("/a.mp4", fast, "drip", pause=0.04, drop=1000, waits_at=len(fast) * 2 // 3)
    stage = stage_of(tmp_path, replace(PATIENT, patience=timedelta(minutes=1)), speed=4)
    stage.player.start(spec(by_url(url)), (TARGET,))
    stage.wait_for(60, 120)
    wait_until(lambda: slow in stage.warnings(), 120)
    server.files["/a.mp4"].go.set()
    stage.wait_for_end(120)
    assert stage.numbers() == list(range(FRAMES))
    assert [text for text in stage.warnings() if text != opening] == [slow]
    assert stage.warnings().count(opening) <= 1
    stage.check()


def test_a_source_that_takes_long_to_open_is_told_once(server: Server, tmp_path: Path, short: bytes) -> None:
    url = server.put("/a.mp4", short, waits_at=100)
    stage = stage_of(tmp_path, PATIENT)
    stage.player.start(spec(by_url(url)), (TARGET,))
    wait_until(lambda: bool(stage.warnings()), 60)
    server.files["/a.mp4"].go.set()
    stage.wait_for_end()
    assert stage.warnings() == ["the source answers slowly: the output waits for it"]
    assert stage.numbers() == list(range(500, 515))


PAGE = b"<!DOCTYPE html><html>sign in</html>"


@pytest.mark.parametrize(
    ("data", "mode", "why"),
    [
        (PAGE, "missing", "not found"),
        (PAGE, "", "wrong type"),
        (b"", "", "wrong type"),
        (b"\x89PNG\r\n\x1a\n" + bytes(8) + b"\0\1\0\0" * 2, "", "at most"),
        (bytes(6 << 20), "", "larger than"),
        (b"\x89PNG\r\n\x1a\n" + bytes(8) + b"\0\0\0\x10" * 2 + bytes(50), "", "decoded"),
        (bytes(9999), "drip", "come within|next to nothing"),
        (PAGE, "silent", "did not answer"),
        (PAGE, "busy", "503"),
    ],
)
def test_a_file_plays_without_a_watermark_that_cannot_be_had(
    server: Server, short: bytes, tmp_path: Path, data: bytes, mode: Mode, why: str
) -> None:
    logo = source("url", server.put("/logo.png", data, mode, times=10_000))
    film = by_url(server.put("/a.mp4", short), Watermark(source=logo, corner="TOP_LEFT"))
    stage = stage_of(tmp_path, replace(QUICK, patience=timedelta(milliseconds=500)))
    stage.play(spec(film, loops=2))
    assert stage.numbers() == [*range(500, 515)] * 2
    assert not ended(stage).failed
    told = [text for text in stage.warnings() if "watermark" in text]
    assert len(told) == 1
    assert re.search(rf"its watermark is left out: .*({why})", told[0])
