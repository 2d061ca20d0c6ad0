"""What the clock makes of a restream's record."""

from __future__ import annotations

import pytest

from services.restreamer.decide import apply
from services.restreamer.following import clock_commands
from shared.messages.restream_commands import Begin, Verb
from shared.messages.restreams import (
    RestreamRecord,
)
from tests.support.restream_commands import (
    MINUTE,
    NOW,
    RESTREAM,
    made,
    spec,
)


def test_a_start_by_the_clock() -> None:
    scheduled = made(None, "start", spec=spec(start_ms=NOW + MINUTE, end_ms=NOW + 9 * MINUTE))
    assert scheduled.state == "scheduled"
    begin, finish = clock_commands(scheduled).values()
    assert begin is not None
    assert finish is not None
    assert (begin.at_ms, finish.at_ms, begin.order) == (NOW + MINUTE, NOW + 9 * MINUTE, Begin(run=1))
    assert isinstance(apply(scheduled, begin.model_copy(update={"order": Begin(run=2)}), NOW + MINUTE), str)
    begun = apply(scheduled, begin, NOW + MINUTE - 3)  # the broker's clock is ahead by 3 ms
    assert isinstance(begun, RestreamRecord)
    assert begun.state == "starting"
    assert clock_commands(begun) == {f"restream-begin-{RESTREAM}": None, f"restream-finish-{RESTREAM}": finish}
    ended = apply(begun, finish, NOW + 9 * MINUTE)
    assert isinstance(ended, RestreamRecord)
    assert (ended.state, ended.reason) == ("ended", "its time is over")
    assert set(clock_commands(ended).values()) == {None}


@pytest.mark.parametrize("verb", ["begin", "finish"])
def test_a_clock_command_of_an_older_start_does_nothing_to_the_next_one(verb: Verb) -> None:
    """Both runs were given the same times; the first one's command comes late."""
    timed = spec(start_ms=NOW + MINUTE, end_ms=NOW + 2 * MINUTE)
    first = made(None, "start", spec=timed)
    old = next(c for c in clock_commands(first).values() if c and c.verb == verb)
    second = made(made(first, "stop"), "start", spec=timed)
    assert (second.run, second.state) == (first.run + 1, "scheduled")
    assert isinstance(apply(second, old, NOW + 2 * MINUTE), str)


def test_a_start_that_was_put_off_is_not_begun_at_its_earlier_time() -> None:
    first = made(None, "start", spec=spec(start_ms=NOW + MINUTE))
    old = next(c for c in clock_commands(first).values() if c)
    later = made(first, "update", spec=spec(start_ms=NOW + 2 * MINUTE))
    assert isinstance(apply(later, old, NOW + MINUTE), str)
    new = next(c for c in clock_commands(later).values() if c)
    begun = apply(later, new, NOW + 2 * MINUTE)
    assert isinstance(begun, RestreamRecord)
    assert begun.state == "starting"


def test_a_start_in_the_past_is_now() -> None:
    assert made(None, "start", spec=spec(start_ms=NOW)).state == "starting"


def test_the_clock_of_an_older_time_or_run_does_nothing() -> None:
    first = made(None, "start", spec=spec(end_ms=NOW + MINUTE))
    old = next(c for c in clock_commands(first).values() if c)
    moved = made(first, "update", spec=spec(end_ms=NOW + 2 * MINUTE))
    assert isinstance(apply(moved, old, NOW + MINUTE), str)
    new = next(c for c in clock_commands(moved).values() if c)
    assert new.command != old.command
    assert new.dedup_id != old.dedup_id
    anew = made(made(moved, "stop"), "start", spec=spec())
    assert isinstance(apply(anew, new, NOW + 2 * MINUTE), str)


def test_an_update_before_the_start_and_a_stop_of_what_never_began() -> None:
    scheduled = made(None, "start", spec=spec(start_ms=NOW + MINUTE))
    changed = made(scheduled, "update", spec=spec("new"))
    assert (changed.state, changed.spec.start_ms) == ("scheduled", NOW + MINUTE)
    assert made(changed, "update", spec=spec("new", start_ms=NOW - 1)).state == "starting"
    stopped = made(changed, "stop")
    assert stopped.state == "stopped"
    assert set(clock_commands(stopped).values()) == {None}


def test_a_clock_command_that_comes_again_begins_nothing_anew() -> None:
    scheduled = made(None, "start", spec=spec(start_ms=NOW + MINUTE, end_ms=NOW + 9 * MINUTE))
    due = [command for command in clock_commands(scheduled).values() if command]
    verbs: tuple[Verb, ...] = ("pause", "stop")
    for verb in verbs:
        record = apply(scheduled, due[0], NOW + MINUTE)
        assert isinstance(record, RestreamRecord)
        record = made(record, verb, NOW + 2 * MINUTE)
        again = due[0].model_copy(update={"command": "f" * 32})  # the broker's memory of ids is two minutes long
        assert isinstance(apply(record, again, NOW + 3 * MINUTE), str)
    assert isinstance(apply(record, due[1], NOW + 9 * MINUTE), str)
    assert record.reason == "stopped"
