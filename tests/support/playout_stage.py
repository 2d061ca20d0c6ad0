"""Playout of local files, and what a player gets of it: units are recorded, their times checked, decoded by PyAV."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from threading import Event

import numpy as np
import numpy.typing as npt

from services.restreamer.model import FLICKS, Media, SourceError, TargetSpec, Unit
from services.restreamer.playout import Ended, FileStarted, Playout, Report, Warned
from services.restreamer.playout.player import Settings
from services.restreamer.sources.containers.file_media import FileMedia
from services.restreamer.sources.containers.sniff import Container, sniff
from services.restreamer.sources.origins.files import LocalFile
from shared.messages.restreams import Item, Range, RestreamSpec, Source, Target, TargetStatus, Watermark
from shared.runtime.clock import SystemClock
from tests.support.framecode import read_number
from tests.support.playout_watched import check_units, frames
from tests.support.sources import ready
from tests.support.waiting import wait_until as until

TARGET = TargetSpec("0" * 16, "rtmp://example.com/live/key", "rtmp://example.com/live/***")


def opened(path: Path | str) -> tuple[LocalFile, Container]:
    """Open a file, and detect its container."""
    file = LocalFile(os.open(path, os.O_RDONLY))
    return file, sniff(file.head())


class Shelf:
    """A library of local files, by path. A path in `broken` raises its error each time it is opened."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.broken: dict[str, str] = {}
        self.pictures: dict[str, npt.NDArray[np.uint8]] = {}
        self.lives: dict[str, Callable[[Event], Media]] = {}

    def open(self, source: Source, stop: Event) -> Media:
        self.opened.append(source.location)
        if source.location in self.lives:
            return self.lives[source.location](stop)
        if source.location in self.broken:
            raise SourceError(self.broken[source.location])
        try:
            return FileMedia(*opened(source.location))
        except OSError as error:
            raise SourceError("there is no such file") from error

    def picture(self, source: Source, stop: Event) -> Still:
        return Still(self.pictures[source.location])


@dataclass(frozen=True, eq=False)
class Still:
    pixels: npt.NDArray[np.uint8]


class Recorder:
    """Outputs that keep what they get, and when."""

    def __init__(self) -> None:
        self.units: list[Unit] = []
        self.given_ns: list[int] = []
        self.targets: tuple[TargetSpec, ...] = ()
        self.closed = False
        self.ticks = 0
        self.state = "live"

    def prepare(self, units: Sequence[Unit]) -> list[Unit]:
        return list(units)

    def feed(self, units: Sequence[Unit], ready: object | None = None) -> None:
        assert ready is None or ready == units, "what was prepared is sent with other units"
        now = SystemClock().monotonic_ns()
        self.units += units
        self.given_ns += [now] * len(units)

    def tick(self) -> None:
        self.ticks += 1

    def set_targets(self, targets: Sequence[TargetSpec]) -> None:
        self.targets = tuple(targets)

    def states(self) -> tuple[TargetStatus, ...]:
        return tuple(
            TargetStatus(target=t.target, shown=t.shown, state=self.state, since_ms=0) for t in self.targets
        )  # fmt: skip

    def close(self) -> None:
        self.closed = True


class FastClock:
    """Runs `speed` times as fast as the machine's clock, so that a playout takes less time; stands still in `held`."""

    def __init__(self, speed: int = 1) -> None:
        self.speed = speed
        self._clock = SystemClock()
        self._began = self._then = self._clock.monotonic_ns()
        self._held: int | None = None

    def now_ms(self) -> int:
        return self._clock.now_ms() + (self.monotonic_ns() - self._clock.monotonic_ns()) // 1_000_000

    def monotonic_ns(self) -> int:
        held, began, then = self._held, self._began, self._then
        return began + (self._clock.monotonic_ns() - then) * self.speed if held is None else held

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Stop time, so that the block takes no time for the playout."""
        self._held = self.monotonic_ns()
        try:
            yield
        finally:
            self._began, self._then = self._held, self._clock.monotonic_ns()
            self._held = None


def item(
    path: Path | str, *ranges: tuple[Fraction | float, Fraction | float | None], mark: Watermark | None = None
) -> Item:
    source = Source(kind="library", location=str(path), shown=Path(path).name)
    parts = tuple(Range(start=flicks(start), end=None if end is None else flicks(end)) for start, end in ranges)
    return Item(source=source, ranges=parts, watermark=mark)


def flicks(seconds: Fraction | float) -> int:
    return round(Fraction(seconds) * FLICKS)


def spec(*items: Item, loops: int = 1, **more: object) -> RestreamSpec:
    target = Target(target="0" * 16, url="sealed", shown="rtmp://example.com")
    return RestreamSpec(items=items, targets=(target,), loops=loops, **more)


@dataclass
class Stage:
    """One playout with a recorder as its outputs."""

    shelf: Shelf = field(default_factory=Shelf)
    out: Recorder = field(default_factory=Recorder)
    reports: list[Report] = field(default_factory=list)
    speed: int = 8
    settings: Settings | None = None

    def __post_init__(self) -> None:
        ready()
        self.clock = FastClock(self.speed)
        self.player = Playout(self.shelf, self.out, self.reports.append, self.clock, self.settings)

    def play(self, what: RestreamSpec, seconds: float = 60, **more: object) -> None:
        """Play to the end."""
        self.player.start(what, (TARGET,), **more)
        self.wait_for_end(seconds)

    def wait_for_end(self, seconds: float = 60) -> None:
        until(lambda: any(isinstance(report, Ended) for report in self.reports), seconds)
        assert self.player.join(timedelta(seconds=10))

    def wait_for(self, number: int, seconds: float = 30) -> None:
        """Wait until `number` pictures were sent."""
        until(lambda: len(self.pictures) >= number, seconds)

    def stop(self) -> None:
        self.player.stop()
        assert self.player.join(timedelta(seconds=10))

    @property
    def pictures(self) -> list[Unit]:
        return [unit for unit in list(self.out.units) if unit.kind == "video"]

    @property
    def sounds(self) -> list[Unit]:
        return [unit for unit in list(self.out.units) if unit.kind == "audio"]

    def files(self) -> list[FileStarted]:
        return [report for report in self.reports if isinstance(report, FileStarted)]

    def warnings(self) -> list[str]:
        return [report.text for report in self.reports if isinstance(report, Warned)]

    def numbers(self) -> list[int]:
        """Return the numbers of all pictures, in order of presentation."""
        return [read_number(grey) for _, grey in frames(self.pictures)]

    def check(self) -> None:
        """Check what holds for every output: order, times, configuration, sound without a gap, sound with picture."""
        check_units(self.out.units)
