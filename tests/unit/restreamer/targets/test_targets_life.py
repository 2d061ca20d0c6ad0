"""When targets are called, given up and called again: by a clock that the test moves."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from services.restreamer.targets.terms import Line, Queue, TargetError
from tests.support.target_scene import AVC, RULES, FakeLine, Scene, picture, refuse
from tests.support.waiting import wait_until


def test_calls_follow_quickly_then_pauses_grow_up_to_the_longest() -> None:
    scene = Scene(refuse(), tries=3)
    assert scene.tick().state == "waiting"
    assert (scene.tick(0.9).state, scene.calls) == ("waiting", 1)
    assert (scene.tick(0.2).state, scene.calls) == ("waiting", 2)
    assert (scene.tick(1.1).state, scene.calls) == ("failed", 3)
    for pause in (2, 4, 8, 16, 32, 60, 60):
        calls = scene.calls
        assert scene.tick(pause - 0.1).state == "failed"
        assert scene.calls == calls
        assert scene.tick(0.2).state == "failed"
        assert scene.calls == calls + 1
    assert scene.status.error == "no"


def test_who_says_no_is_not_called_quickly_and_stays_failed_until_live() -> None:
    scene = Scene(refuse(final=True))
    with capture_logs() as logs:
        assert scene.tick().state == "failed"
        assert (scene.tick(1.5).state, scene.calls) == ("failed", 1)
        assert (scene.tick(1).state, scene.calls) == ("failed", 2)
        scene.answer = FakeLine
        assert (scene.tick(4).state, scene.status.error, scene.status.connects) == ("live", "", 1)
    assert [entry["state"] for entry in logs] == ["failed", "live"]
    assert "secret" not in str(logs)


def test_who_accepts_and_drops_at_once_is_not_called_quickly_for_ever() -> None:
    line = FakeLine(fault=TargetError("gone"))
    scene = Scene(lambda: replace(line, queue=Queue(), taken=[]), tries=3)
    states = [scene.tick(0 if n == 0 else 1.1).state for n in range(3)]
    assert states == ["waiting", "waiting", "failed"]


def test_who_was_live_for_long_is_called_quickly_again() -> None:
    lines: list[FakeLine] = []

    def connect() -> Line:
        lines.append(FakeLine())
        return lines[-1]

    scene = Scene(connect, tries=1)
    scene.tick()
    for number in range(3):
        assert scene.tick(60).state == "live"
        lines[-1].fault = TargetError("the connection was lost")
        assert scene.tick().state == "failed"  # one try is allowed, and it was the call that failed
        assert scene.tick(2.1).state == "live"  # after the shortest pause each time
        assert len(lines) == number + 2


def test_a_call_without_an_answer_is_given_up_and_what_comes_late_is_closed() -> None:
    line, answered = FakeLine(), threading.Event()

    def hang() -> Line:
        assert answered.wait(60)
        return line

    scene = Scene(hang)
    scene.target.tick(scene.clock.ns)
    call = scene.target._call
    assert call is not None
    scene.clock.step(10.1)
    scene.target.tick(scene.clock.ns)
    assert (scene.status.state, scene.status.error) == ("waiting", "did not answer in time")
    scene.clock.step(5)
    scene.target.tick(scene.clock.ns)
    assert scene.calls == 1  # not two threads for one target
    answered.set()
    wait_until(lambda: line.closed and not call.running)
    scene.answer = FakeLine
    assert scene.tick().state == "live"
    assert scene.calls == 2


def test_a_line_that_takes_nothing_holds_up_nobody_and_is_given_up() -> None:
    line = FakeLine(takes=False)
    scene = Scene(lambda: line)
    scene.tick()
    scene.feed(picture(0, key=True))
    for second in range(1, 11):
        scene.feed(picture(second * 1000))
        assert scene.tick(0.99).state == "live"
    scene.answer = FakeLine
    assert scene.tick(0.2).state == "waiting"
    assert "took too little for 10 s" in scene.status.error
    assert scene.status.dropped == 11
    assert line.closed
    assert scene.tick(1.1).state == "live"


def test_who_takes_less_than_comes_is_given_up_when_the_oldest_has_waited_too_long() -> None:
    line = FakeLine(takes=False)
    scene = Scene(lambda: line)
    scene.tick()
    scene.feed(picture(0, key=True))
    states = []
    for second in range(1, 40):
        scene.feed(picture(second * 1000))
        if not second % 2 and line.queue.blocks:  # one picture in two seconds
            line.queue.pop()
        states.append(scene.tick(1).state)
        if states[-1] != "live":
            break
    assert 15 < len(states) < 25
    assert "took too little for 10 s" in scene.status.error


@pytest.mark.parametrize(("pieces", "state"), [(1, "live"), (0, "waiting")], ids=["slow", "stuck"])
def test_a_long_gop_that_a_target_begins_with_may_take_its_time(pieces: int, state: str) -> None:
    """A minute's GOP of 40 MB, taken at 2 MB a second while 0.5 MB/s come; or not taken at all."""
    line = FakeLine(takes=False)
    scene = Scene(lambda: line)
    scene.feed(picture(0, key=True), *(picture(at * 1000, size=1 << 20) for at in range(1, 40)))
    scene.tick()
    for second in range(40, 80):
        scene.feed(picture(second * 1000, size=1 << 19))
        for _ in range(min(2 * pieces, len(line.queue.blocks))):
            line.queue.pop()
        if scene.tick(1).state != "live":
            break
    assert scene.status.state == state
    assert bool(scene.status.error) == (state == "waiting")


def test_a_queue_is_bounded_in_bytes() -> None:
    line = FakeLine(takes=False)
    scene = Scene(lambda: line, rules=replace(RULES, queue_bytes=1 << 20))
    scene.tick()
    scene.feed(picture(0, key=True), *(picture(40 * n, size=100_000) for n in range(1, 9)))
    assert scene.status.state == "live"
    scene.feed(*(picture(40 * n, size=100_000) for n in range(9, 12)))
    assert (scene.status.state, scene.status.dropped) == ("waiting", 12)
    assert "more than 1 MiB wait" in scene.status.error


def test_every_line_begins_with_configuration_and_a_keyframe() -> None:
    first, second = FakeLine(), FakeLine()
    scene = Scene(lambda: first)
    scene.tick()
    scene.feed(picture(0))
    assert not first.taken
    scene.feed(picture(40, key=True), picture(80))
    assert [block.units for block in first.taken] == [0, 2]
    first.fault, scene.answer = TargetError("gone"), lambda: second
    scene.tick()
    scene.feed(picture(120))
    scene.tick(1.1)
    scene.feed(picture(160))
    assert [block.units for block in second.taken] == [0, 2, 1, 1]
    assert (scene.status.connects, scene.status.sent_bytes) == (2, first.sent + second.sent)


def test_a_line_that_nobody_has_called_waits_and_begins_anew_with_each_caller() -> None:
    line = FakeLine(unwilling="nobody has called yet")
    scene = Scene(lambda: line)
    assert (scene.tick().state, scene.status.error) == ("waiting", "nobody has called yet")
    scene.feed(picture(0, key=True))
    assert not line.taken
    for _ in range(2):
        line.taken.clear()
        line.unwilling = ""
        assert scene.tick().state == "live"
        assert [block.units for block in line.taken] == [0, 1]
        line.unwilling = "the caller has gone"
        assert scene.tick(100).state == "waiting"
    assert scene.calls == 1


def test_a_programme_that_the_format_cannot_carry_fails_until_it_can() -> None:
    line = FakeLine()
    scene = Scene(lambda: line)
    scene.tick()
    scene.feed(picture(0, key=True))
    scene.feed(replace(picture(40, key=True), track=replace(AVC, codec="theora")))
    assert (scene.tick().state, scene.status.error) == ("failed", "RTMP does not carry theora")
    assert line.closed
    scene.feed(picture(80))
    scene.tick(100)
    assert scene.calls == 1
    scene.answer = FakeLine
    scene.feed(picture(120, key=True))
    assert scene.tick().state == "live"


def test_a_connection_that_comes_when_the_format_does_not_fit_any_more_is_not_kept() -> None:
    line, answer = FakeLine(), threading.Event()

    def late() -> Line:
        assert answer.wait(60)
        return line

    scene = Scene(late)
    scene.target.tick(scene.clock.ns)
    call = scene.target._call
    assert call is not None
    scene.feed(replace(picture(0, key=True), track=replace(AVC, codec="theora")))
    scene.target.tick(scene.clock.ns)
    assert scene.status.state == "failed"
    answer.set()
    wait_until(lambda: not call.running)
    scene.target.tick(scene.clock.ns)
    assert line.closed


@pytest.mark.parametrize("stuck", [False, True])
def test_who_is_removed_hears_a_goodbye_for_a_second_at_most(stuck: bool) -> None:
    line = FakeLine(takes=not stuck)
    scene = Scene(lambda: line)
    scene.tick()
    scene.feed(picture(0, key=True))
    scene.target.leave(scene.clock.ns)
    assert (scene.status.state, line.goodbyes) == ("removed", 1)
    assert scene.target.left(scene.clock.ns) is not stuck
    scene.clock.step(RULES.farewell / timedelta(seconds=1))
    assert scene.target.left(scene.clock.ns)
    assert line.closed


def test_nothing_was_sent_before_media_has_left() -> None:
    line = FakeLine(sent=700)  # what the call itself took
    scene = Scene(lambda: line)
    scene.tick()
    assert (scene.status.state, scene.status.unsent) == ("live", True)
    line.takes = False
    scene.feed(picture(0, key=True))
    assert scene.status.unsent
    line.takes = True
    scene.tick()
    assert (scene.status.state, scene.status.unsent) == ("live", False)
    line.fault = TargetError("gone")
    scene.answer = FakeLine
    assert not scene.tick().unsent
    scene.tick(1.1)
    scene.feed(picture(40))
    assert not scene.tick().unsent, "the picture group that it begins with was sent"


def test_a_target_that_reads_nothing_fails_as_one_that_says_no_and_is_called_less_and_less() -> None:
    """What the buffers on the way take looks like media for 20 s each time."""
    lines: list[FakeLine] = []

    def connect() -> Line:
        lines.append(FakeLine())
        return lines[-1]

    scene, at, waits = Scene(connect, tries=3), 0, []
    scene.tick()
    for _ in range(2 * 3600):
        at += 500
        scene.feed(picture(at, key=not at % 2000))
        count = len(lines)
        if lines[-1].sent > 2000:
            lines[-1].takes = False
        scene.tick(0.5)
        waits.append(len(lines) > count)
    assert len(lines) < 70, "called every 75 s in the end, not every 13"
    assert scene.status.connects == len(lines)


def test_a_target_that_is_stuck_once_in_a_long_time_is_called_quickly_again() -> None:
    line = FakeLine(sent=0)
    scene = Scene(lambda: line, tries=1)
    scene.tick()
    for _ in range(3):
        line.takes, line.sent = True, 64 << 20
        scene.feed(picture(0, key=True))
        line.takes = False
        scene.feed(picture(40))
        assert scene.tick(11).state == "failed"
        line.queue = Queue()
        assert scene.tick(2.1).state == "live", "after the shortest pause each time"
