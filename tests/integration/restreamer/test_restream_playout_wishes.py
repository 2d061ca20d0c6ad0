"""Playout while it is told to do otherwise: skip, seek, other lists, live events, sources that stall."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from threading import Event

from services.restreamer.model import FLICKS, Packet, SourceError
from services.restreamer.playout.player import Settings
from services.restreamer.playout.sending.ring import Bounds
from services.restreamer.sources.containers.file_media import FileMedia
from shared.messages.restreams import Move, Source
from tests.support.playout_files import Clip, make
from tests.support.playout_stage import TARGET, Stage, item, opened, spec, until
from tests.support.playout_watched import steps

LIVE = Source(kind="live", location="live", shown="live")
CLIPS = 150


class Slow(FileMedia):
    """A file whose packet number `at` comes only when `gate` is open, or never."""

    def __init__(self, path: Path, stop: Event, gate: Event, at: int = 0) -> None:
        super().__init__(*opened(path))
        self._stop, self._gate, self._at = stop, gate, at

    def packets(self, start: int) -> Iterator[Packet]:
        for number, packet in enumerate(super().packets(start)):
            while number == self._at and not self._gate.is_set():
                if self._stop.wait(0.01):
                    raise SourceError("stopped")
            yield packet


class Live(FileMedia):
    """A live event as far as it was recorded: it begins with its first keyframe."""

    def __init__(self, path: Path) -> None:
        super().__init__(*opened(path))
        self.duration = 0


def clips(folder: Path, count: int, frames: int = CLIPS) -> list[Path]:
    return [make(Clip(frames, CLIPS * number), folder / str(number)) for number in range(count)]


def order(stage: Stage) -> list[int]:
    """Tell which files played, in order."""
    files = [number // CLIPS for number in stage.numbers()]
    return [file for index, file in enumerate(files) if not index or file != files[index - 1]]


def reading(stage: Stage) -> int | None:
    """Tell which item is read just now."""
    reader = stage.player._reader
    current = reader._current if reader is not None else None
    return None if current is None else current.cursor.item


def test_each_skip_counts_before_the_last_one_is_seen(tmp_path: Path) -> None:
    stage = Stage(speed=1)
    stage.player.start(spec(*map(item, clips(tmp_path, 4))), (TARGET,))
    stage.wait_for(10)
    with stage.clock.held():
        for number in (1, 2):
            stage.player.move(Move(number=number))
            until(lambda number=number: reading(stage) == number, 10)
    until(lambda: stage.player.snapshot().cursor.item == 2, 20)
    assert stage.player.snapshot().moved == 2
    stage.stop()
    assert order(stage) == [0, 2]


def test_a_skip_before_the_first_picture_counts(tmp_path: Path) -> None:
    files, gate = clips(tmp_path, 2, 60), Event()
    stage = Stage(speed=8)
    stage.shelf.lives["slow"] = lambda stop: Slow(files[0], stop, gate)
    stage.player.start(spec(item("slow"), item(files[1])), (TARGET,))
    until(lambda: stage.shelf.opened == ["slow"])
    stage.player.move(Move(number=1))
    stage.wait_for_end()
    assert order(stage) == [1]


def test_a_list_takes_over_before_the_first_picture(tmp_path: Path) -> None:
    files, gate = clips(tmp_path, 2, 60), Event()
    stage = Stage(speed=8)
    stage.shelf.lives["slow"] = lambda stop: Slow(files[0], stop, gate)
    stage.player.start(spec(item("slow")), (TARGET,))
    until(lambda: stage.shelf.opened == ["slow"])
    stage.player.update(spec(item(files[1])), 1, wait_current=False)
    stage.wait_for_end()
    assert order(stage) == [1]


def test_a_seek_goes_to_the_list_that_waits(tmp_path: Path) -> None:
    first, *others = clips(tmp_path, 4)
    stage = Stage(speed=4)
    stage.player.start(spec(item(first)), (TARGET,))
    stage.wait_for(10)
    with stage.clock.held():
        stage.player.update(spec(*map(item, others)), 1, wait_current=True)
        stage.player.move(Move(number=1, item=2, at=FLICKS))
    stage.wait_for_end()
    assert order(stage) == [0, 3]
    assert stage.numbers()[-120:] == list(range(3 * CLIPS + 30, 4 * CLIPS))


def test_a_list_follows_what_plays_while_the_next_file_is_read(tmp_path: Path) -> None:
    short, long, other = (make(Clip(90, CLIPS * n), tmp_path / str(n)) for n in range(3))
    stage = Stage(speed=2, settings=Settings(Bounds(5 * FLICKS)))  # the second file is being read when it is full
    stage.player.start(spec(item(short), item(long), item(long)), (TARGET,))
    stage.wait_for(20)
    with stage.clock.held():
        until(lambda: reading(stage) == 1 and stage.player._reader._splicer.picture_end > 4 * FLICKS)
        stage.player.update(spec(item(other)), 1, wait_current=True)
    stage.wait_for_end()
    assert stage.numbers() == [*range(90), *range(2 * CLIPS, 2 * CLIPS + 90)]
    assert steps(stage.pictures) == {FLICKS // 30}
    stage.check()


def test_a_list_that_opens_slowly_follows_one_that_is_over(tmp_path: Path) -> None:
    files, gate = clips(tmp_path, 2, 60), Event()
    stage = Stage(speed=1)

    def slow(stop: Event) -> FileMedia:
        gate.wait(30)
        return FileMedia(*opened(files[1]))

    stage.shelf.lives["slow"] = slow
    stage.player.start(spec(item(files[0])), (TARGET,))
    until(lambda: stage.player._ring._over is not None, 20)
    stage.player.update(spec(item("slow")), 1, wait_current=True)
    stage.wait_for(60)
    until(lambda: stage.player._pacer._starved, 20)
    gate.set()
    stage.wait_for_end()
    assert stage.numbers() == [*range(60), *range(CLIPS, CLIPS + 60)]


def test_a_file_that_stalls_can_be_skipped(tmp_path: Path) -> None:
    files = clips(tmp_path, 2)
    stage = Stage(speed=4)
    stage.shelf.lives["stalls"] = lambda stop: Slow(files[0], stop, Event(), 200)
    stage.player.start(spec(item("stalls"), item(files[1])), (TARGET,))
    stage.wait_for(10)
    stage.player.move(Move(number=1))
    stage.wait_for_end(20)
    assert order(stage) == [0, 1]
    assert not stage.warnings()


def test_the_list_goes_on_where_live_events_cut_it(tmp_path: Path) -> None:
    film, show = make(Clip(450), tmp_path / "film"), make(Clip(300, 500, gop=10), tmp_path / "show")
    stage = Stage(speed=2)
    stage.shelf.lives["live"] = lambda stop: Live(show)
    stage.player.start(spec(item(film)), (TARGET,))
    stage.wait_for(60)
    stage.player.live(LIVE)
    until(lambda: stage.player.snapshot().live, 20)
    place = stage.player.snapshot().cursor
    stage.wait_for(len(stage.pictures) + 15)
    assert stage.player.snapshot().cursor == place  # that of the list, whatever the event's own time is
    with stage.clock.held():
        stage.player.live(None)
        stage.player.live(LIVE)
    until(lambda: len(stage.files()) == 3, 20)
    stage.player.live(None)
    stage.wait_for_end()
    numbers = stage.numbers()
    assert [number for number in numbers if number < 500] == list(range(450))
    assert [number for before, number in pairwise(numbers) if number != before + 1] == [
        500, 500, round(place.at * Fraction(30, FLICKS)),
    ]  # fmt: skip
    stage.check()


def test_a_live_event_that_goes_before_it_is_opened_leaves_the_list(tmp_path: Path) -> None:
    film, gate = make(Clip(60), tmp_path / "film"), Event()
    stage = Stage(speed=8)

    def slow(stop: Event) -> FileMedia:
        while not gate.wait(0.01) and not stop.is_set():
            pass
        return FileMedia(*opened(film))

    stage.shelf.lives = {"slow": slow, "live": slow}
    stage.player.start(spec(item("slow")), (TARGET,))
    stage.player.live(LIVE)
    until(lambda: "live" in stage.shelf.opened)
    stage.player.live(None)
    gate.set()
    stage.wait_for_end()
    assert stage.numbers() == list(range(60))
