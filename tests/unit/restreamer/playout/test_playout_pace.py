"""The one thread that sends for all: whose turn it is, what one that breaks does to others, who leaves together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest

from services.restreamer.model import FLICKS, TargetSpec, Unit
from services.restreamer.playout.reading.splice import Part, SplicedUnit
from services.restreamer.playout.sending.pace import Pace, in_step
from services.restreamer.playout.sending.pacer import MOST_BATCHES, Pacer
from services.restreamer.playout.sending.ring import Ring
from services.restreamer.playout.terms import Ended, Report
from shared.messages.restreams import PlaylistCursor, TargetStatus
from shared.runtime.clock import SystemClock
from tests.support.waiting import wait_until

SECOND = 1_000_000_000
PART = Part(1, PlaylistCursor(), "copied")


class Turns:
    """Something that is run `rounds` times; notes by which threads."""

    def __init__(self, rounds: int, wait_ns: int = 1_000_000, then: Callable[[], None] = lambda: None) -> None:
        self.rounds, self.wait_ns, self.then = rounds, wait_ns, then
        self.threads: list[int] = []

    def run(self) -> int | None:
        self.threads.append(threading.get_ident())
        if len(self.threads) == self.rounds:
            self.then()
            return None
        return self.wait_ns


def test_all_are_run_by_one_thread_until_they_are_over() -> None:
    pace, turns = Pace(), [Turns(20), Turns(30), Turns(5)]
    for each in turns:
        pace.call(each)
    wait_until(lambda: [len(each.threads) for each in turns] == [20, 30, 5])
    assert len({thread for each in turns for thread in each.threads}) == 1


def test_who_is_called_does_not_wait_for_its_time() -> None:
    pace, slow = Pace(), Turns(3, 3600 * SECOND)
    for round_number in (1, 2, 3):
        pace.call(slow)
        wait_until(lambda number=round_number: len(slow.threads) == number)  # type: ignore[misc]


def test_who_is_called_often_has_one_turn_at_a_time() -> None:
    pace, busy = Pace(), Turns(1000, 20_000_000)
    for _ in range(50):
        pace.call(busy)
    wait_until(lambda: len(pace._due) == 1 and pace._called.empty())
    assert len(busy.threads) <= 51 + 5


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_one_that_breaks_ends_alone() -> None:
    def broken() -> None:
        raise RuntimeError("broken")

    pace, well, bad = Pace(), Turns(10**6), Turns(3, then=broken)
    pace.call(well)
    pace.call(bad)
    wait_until(lambda: len(bad.threads) == 3)
    seen = len(well.threads)
    wait_until(lambda: len(well.threads) > seen + 10)
    assert len(bad.threads) == 3
    well.rounds = len(well.threads) + 1


@pytest.mark.parametrize("rate", [24, 25, 30, 50, 60, FLICKS * 30 // 1001 * 1000 / FLICKS])
def test_pictures_of_a_rate_are_due_together_whenever_they_began(rate: float) -> None:
    beat = round(FLICKS / rate)
    for first, second in [(5 * SECOND, 5 * SECOND + 1), (7, 86_400 * SECOND + 12_345_678), (10**15, 10**15 + 333)]:
        begins = [in_step(ns, beat) for ns in (first, second)]
        assert all(
            0 <= begin - ns <= beat * SECOND // FLICKS for begin, ns in zip(begins, (first, second), strict=True)
        )
        apart = (begins[1] - begins[0]) * FLICKS % (beat * SECOND)
        assert min(apart, beat * SECOND - apart) <= 2 * FLICKS  # of ns, by which both may be rounded


@pytest.mark.parametrize("beat", [0, FLICKS // 10, FLICKS, 3600 * FLICKS])
def test_pictures_that_stay_on_for_long_do_not_wait_as_long(beat: int) -> None:
    assert 0 <= in_step(123_456_789, beat) - 123_456_789 <= SECOND // 20


class Taken:
    """Outputs that note when they were given pictures, and whose goodbye takes as long as `gone` is closed."""

    def __init__(self, *, breaks_at: int = -1) -> None:
        self.at_ns: list[int] = []
        self.breaks_at = breaks_at
        self.gone = threading.Event()
        self.closed = False

    def prepare(self, units: Sequence[Unit]) -> None:
        pass

    def feed(self, units: Sequence[Unit], ready: object | None = None) -> None:
        if 0 <= self.breaks_at <= len(self.at_ns):
            raise RuntimeError("broken")
        self.at_ns += [time.monotonic_ns()] * sum(unit.kind == "video" for unit in units)

    def tick(self) -> None:
        pass

    def set_targets(self, targets: Sequence[TargetSpec]) -> None:
        pass

    def states(self) -> tuple[TargetStatus, ...]:
        return ()

    def close(self) -> None:
        self.gone.wait()
        self.closed = True


def filled(frames: int) -> Ring:
    ring, frame = Ring(), FLICKS // 50
    units = (Unit("video", n * frame, n * frame, frame, key=not n, data=b"x") for n in range(frames))
    ring.put([SplicedUnit(unit, PART, unit.pts + frame) for unit in units])
    ring.finish(Ended())
    return ring


def playing(outputs: Taken, frames: int, pace: Pace) -> tuple[Pacer, list[Report]]:
    reports: list[Report] = []
    pacer = Pacer(filled(frames), outputs, reports.append, SystemClock(), pace=pace)
    pacer.start()
    return pacer, reports


def test_a_goodbye_that_takes_long_keeps_nobody_waiting() -> None:
    pace, first, second = Pace(), Taken(), Taken()
    leaving, reports = playing(first, 3, pace)
    wait_until(lambda: reports == [Ended()])
    assert not leaving.join(timedelta())
    other, others = playing(second, 30, pace)
    second.gone.set()
    wait_until(lambda: others == [Ended()])
    assert len(second.at_ns) == 30
    assert other.join(timedelta(seconds=20))
    assert not first.closed
    first.gone.set()
    assert leaving.join(timedelta(seconds=20))
    assert first.closed


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_restream_whose_sending_breaks_says_so_and_leaves_the_others_alone() -> None:
    pace, bad, well = Pace(), Taken(breaks_at=2), Taken()
    for outputs in (bad, well):
        outputs.gone.set()
    (broken, told), (_, others) = playing(bad, 30, pace), playing(well, 60, pace)
    wait_until(lambda: told == [Ended(failed=True, reason="the sender broke")])
    assert broken.join(timedelta(seconds=20))
    assert bad.closed
    wait_until(lambda: others == [Ended()])
    assert len(well.at_ns) == 60


def test_one_that_has_much_to_send_at_once_lets_the_others_have_their_turns() -> None:
    ring, outputs, count = Ring(), Taken(), 20 * MOST_BATCHES
    ring.put([SplicedUnit(Unit("video", 0, 0, 1, key=not n, data=b"x"), PART, 1) for n in range(count)])
    pacer, turns, now = Pacer(ring, outputs, lambda _: None, SystemClock()), list[int](), 0
    while ring.head() is not None:
        before = len(outputs.at_ns)
        now = pacer.step(now) or 0
        turns.append(len(outputs.at_ns) - before)
    assert sum(turns) == count
    assert max(turns) == MOST_BATCHES


def test_one_that_is_stopped_ends_at_once_without_a_word() -> None:
    outputs = Taken()
    outputs.gone.set()
    pacer, reports = playing(outputs, 60, Pace())
    pacer.paused = True
    pacer.stop()
    assert pacer.join(timedelta(seconds=20))
    assert outputs.closed
    assert not reports
    pacer.stop()  # once more changes nothing
    assert pacer.join(timedelta())


def test_two_restreams_send_in_the_same_steps() -> None:
    """Whenever each began: otherwise each would wake the thread for itself."""
    steps: list[set[str]] = []

    class Noted(Taken):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def feed(self, units: Sequence[Unit], ready: object | None = None) -> None:
            noted[self.name] += [unit.dts for unit in units]

    noted: dict[str, list[int]] = {"a": [], "b": []}

    class SetClock:
        ns = 10**12

        def now_ms(self) -> int:
            return self.ns // 1_000_000

        def monotonic_ns(self) -> int:
            return self.ns

    clock = SetClock()
    pacers = {name: Pacer(filled(40), Noted(name), lambda _: None, clock) for name in noted}
    due = {"a": clock.ns, "b": clock.ns + 7_654_321}
    while due:
        clock.ns = min(due.values())
        given = {name: len(units) for name, units in noted.items()}
        for name in [name for name, at in due.items() if at <= clock.ns + 1000]:
            wake = pacers[name].step(clock.ns)
            if wake is None:
                del due[name]
            else:
                due[name] = wake
        steps.append({name for name, units in noted.items() if len(units) > given[name]})
    together = [step for step in steps if step]
    assert len(together) > 40
    assert all(step == {"a", "b"} for step in together[5:-5])
