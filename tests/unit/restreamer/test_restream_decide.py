"""What commands, the clock and holders make of a restream's record."""

from __future__ import annotations

import hashlib
import itertools
from datetime import timedelta
from typing import Any

import pytest

from services.restreamer.decide import (
    BEFORE,
    KEPT_COMMANDS,
    MOST_KNOWN,
    MOST_UNTOLD,
    RESUMABLE,
    apply,
    clock_commands,
    event_of,
    over,
    playing,
    refusal_of,
    told,
)
from shared.messages.restreams import (
    Callback,
    Encoding,
    Item,
    RestreamCommand,
    RestreamRecord,
    RestreamSpec,
    Source,
    Target,
    TargetState,
    TargetStatus,
    Verb,
)

NOW = 1_800_000_000_000
MINUTE = 60_000
RESTREAM = "4" * 32
numbers = itertools.count(1)


def target(name: str) -> Target:
    shown = f"rtmp://127.0.0.1/live/{name}"
    return Target(target=hashlib.sha256(name.encode()).hexdigest()[:16], url=f"sealed:{name}", shown=shown)


A, B, C = target("a"), target("b"), target("c")


def item(name: str) -> Item:
    return Item(source=Source(kind="url", place=f"http://127.0.0.1/{name}", shown=name))


def spec(*names: str, **fields: Any) -> RestreamSpec:
    return RestreamSpec(**{"items": [item(n) for n in names or ("one", "two")], "targets": (A, B), **fields})


def command(verb: Verb, now: int = NOW, **fields: Any) -> RestreamCommand:
    return RestreamCommand(
        account="main", restream=RESTREAM, command=f"{next(numbers):032x}", verb=verb, at_ms=now, **fields
    )


def made(record: RestreamRecord | None, verb: Verb, now: int = NOW, **fields: Any) -> RestreamRecord:
    """Apply a command that must change something; twice, of which the second time changes nothing."""
    wish = command(verb, now, **fields)
    outcome = apply(record, wish, now)
    assert isinstance(outcome, RestreamRecord), outcome
    assert isinstance(apply(outcome, wish, now + 1), str)
    return RestreamRecord.model_validate_json(outcome.model_dump_json())


def refused(record: RestreamRecord | None, verb: Verb, now: int = NOW, **fields: Any) -> str:
    outcome = apply(record, command(verb, now, **fields), now)
    assert isinstance(outcome, str)
    return outcome


def started(**fields: Any) -> RestreamRecord:
    record = playing(made(None, "start", spec=spec(**fields)), 1, NOW + 500)
    assert record is not None
    return record


def states(record: RestreamRecord) -> list[tuple[int, str]]:
    return [(record.run, news.state) for news in record.untold]


def test_a_start_plays_and_its_events_are_in_order() -> None:
    record = started()
    assert (record.state, record.run, record.started_ms, record.created_ms) == ("playing", 1, NOW + 500, NOW)
    assert states(record) == [(1, "starting"), (1, "playing")]
    assert playing(record, 1, NOW + 600) is None
    back = made(record, "pause", NOW + 400)  # a clock that went back
    ordered = [news.number for news in back.untold]
    assert ordered == sorted(set(ordered))


def test_a_start_over_a_running_one_ends_that_one_first() -> None:
    running = started(callback=Callback(url="x", id="1", cmd="1", srcurl="[]"))
    wish = command("start", spec=spec("three"))
    stopped = apply(running, wish, NOW)
    assert isinstance(stopped, RestreamRecord)
    assert (states(stopped)[-1], stopped.reason) == ((1, "stopped"), "started anew")
    told = event_of(stopped, stopped.untold[-1]).callback
    assert told is not None
    assert told.cmd == "2"
    record = apply(stopped, wish, NOW)
    assert isinstance(record, RestreamRecord)
    assert (record.run, record.chain, states(record)) == (2, 2, [(2, "starting")])
    assert record.number > stopped.number
    assert over(record, 1, "ended", "", NOW) is None  # the old holder's last word comes too late


def test_what_cannot_be_done_says_why() -> None:
    everything: tuple[Verb, ...] = ("stop", "update", "pause", "skip", "seek", "targets", "begin", "finish")
    assert {refused(None, verb) for verb in everything} == {"the restream is not known"}
    stopped = made(started(), "stop")
    for verb in everything[:-2]:
        assert refused(stopped, verb, spec=spec(), targets=(A,)) == "it is stopped"
    assert refused(None, "start") == "the command names no list"
    assert refused(started(), "seek", item=2) == refused(started(), "seek") == "the list has no such file"
    assert refused(started(), "stop", only=(C.target,)) == "it has none of these targets"


def test_stopping_some_targets_and_then_the_last() -> None:
    record = made(started(), "stop", only=(A.target, C.target))
    assert (record.state, record.spec.targets) == ("playing", (B,))
    record = made(record, "stop", only=(B.target,))
    assert (record.state, record.spec.targets, record.finished_ms) == ("stopped", (B,), NOW)


def test_a_stop_says_whom_to_tell() -> None:
    told = Callback(url="there", id="1", cmd="2", srcurl='[{"url":""}]')
    before = told.model_copy(update={"url": "here", "cmd": "1", "srcurl": "[1]"})
    record = made(started(callback=before), "stop", only=(A.target,), callback=told)
    assert record.spec.callback == before.model_copy(update={"url": "there"})
    record = made(started(), "stop", only=(A.target,), callback=told)
    assert record.spec.callback == told.model_copy(update={"cmd": "1"})
    record = made(started(), "stop", callback=told)
    assert event_of(record, record.untold[-1]).callback == told


def test_a_client_is_told_of_a_command_that_changes_nothing_once() -> None:
    told = Callback(url="there", id="1", cmd="2", srcurl="[]")
    record, wish = started(), command("stop", only=(C.target,), callback=told)
    event = refusal_of(record, wish, refused(record, "stop", only=(C.target,)))
    assert event is not None
    assert (event.callback, event.text) == (told, "The command stop changed nothing: it has none of these targets")
    assert refusal_of(record, wish, BEFORE) is None
    assert refusal_of(record, command("finish"), "its time has not come, or is over") is None


def test_what_the_broker_would_not_take_is_refused() -> None:
    long = Callback(url="x", id="1", cmd="1", srcurl="x" * 100_000)
    many = [item(f"{n}" + "x" * 1000) for n in range(400)]
    assert made(started(), "update", spec=spec(items=many))
    assert "too long together" in refused(started(callback=long), "update", spec=spec(items=many))


def test_targets_are_set_and_doubled_ones_are_one() -> None:
    assert made(started(), "targets", targets=(B, C, B)).spec.targets == (B, C)
    many = tuple(target(str(n)) for n in range(31))
    assert refused(started(), "resume", spec=spec(targets=many)) == "it would have too many targets"


def test_a_pause_and_its_end() -> None:
    record = made(started(), "pause")
    assert (record.state, record.paused) == ("paused", True)
    assert refused(record, "pause") == "it is paused"
    assert playing(record, 1, NOW) is None
    ended = made(record, "resume")
    assert (ended.state, ended.paused, ended.run) == ("playing", False, 1)
    early = made(made(None, "start", spec=spec()), "pause")
    assert made(early, "resume").state == "starting"
    begun = playing(early, 1, NOW)  # the first picture had left when the pause came
    assert begun is not None
    assert (begun.state, made(begun, "resume").state) == ("paused", "playing")


def test_moves_are_numbered() -> None:
    record = made(made(started(), "skip"), "seek", item=1, at=7)
    assert (record.move.number, record.move.item, record.move.at) == (2, 1, 7)


def test_an_update_keeps_what_it_does_not_name() -> None:
    encoding = Encoding(kbps=500)
    was = started(encoding=encoding, end_ms=NOW + MINUTE, name="it", tries=9)
    record = made(was, "update", spec=spec("new", targets=(C,), loops=2), wait_current=True)
    assert record.spec == was.spec.model_copy(update={"items": (item("new"),), "loops": 2})
    assert (record.spec_number, record.wait_current, record.state) == (1, True, "playing")
    told = Callback(url="x", id="1", cmd="3", srcurl="[]")
    record = made(record, "update", spec=spec("new", end_ms=NOW + 2 * MINUTE, callback=told))
    assert (record.spec.end_ms, record.spec.callback) == (NOW + 2 * MINUTE, told)


def test_a_start_by_the_clock() -> None:
    scheduled = made(None, "start", spec=spec(start_ms=NOW + MINUTE, end_ms=NOW + 9 * MINUTE))
    assert scheduled.state == "scheduled"
    begin, finish = clock_commands(scheduled).values()
    assert begin is not None
    assert finish is not None
    assert (begin.at_ms, finish.at_ms, begin.run) == (NOW + MINUTE, NOW + 9 * MINUTE, 1)
    assert isinstance(apply(scheduled, begin.model_copy(update={"run": 2}), NOW + MINUTE), str)
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


def test_a_resume_goes_on_for_48_hours_after_a_stop() -> None:
    told = Callback(url="x", id="1", cmd="1", srcurl="[]", files=True)
    was = {"loops": 3, "first": 1, "callback": told, "end_ms": NOW * 2, "encoding": Encoding()}
    stopped = made(started(**was), "stop")
    limit = NOW + RESUMABLE // timedelta(milliseconds=1)
    resumed = made(stopped, "resume", limit, spec=spec("two", "one"), reset={B.target: C})
    assert (resumed.run, resumed.chain, resumed.state) == (2, 1, "starting")
    c = C.model_copy(update={"instead_of": B.target})
    assert (resumed.spec.targets, resumed.spec.loops, resumed.spec.first) == ((A, c), 3, 1)
    assert (resumed.spec.callback, resumed.spec.end_ms, resumed.spec.encoding) == (told, NOW * 2, None)
    newly = made(stopped, "resume", spec=spec(end_ms=NOW * 3, callback=told.model_copy(update={"files": False})))
    assert (newly.spec.callback, newly.spec.end_ms) == (told, NOW * 3)
    again = made(made(resumed, "stop", limit), "resume", limit)
    assert (again.run, again.chain) == (3, 1)
    late = made(stopped, "resume", limit + 1, spec=spec("two"))
    assert (late.run, late.chain, late.spec.loops) == (2, 2, 3)


@pytest.mark.parametrize("end", ["ended", "failed"])
def test_a_resume_after_an_end_of_its_own_is_a_start(end: Any) -> None:
    ended = over(started(), 1, end, "", NOW)
    assert ended is not None
    record = made(ended, "resume", NOW + 1)
    assert (record.run, record.chain, record.state) == (2, 2, "starting")


def test_a_resume_of_what_plays_or_is_not_known() -> None:
    assert refused(started(), "resume") == "it plays already"
    assert made(made(started(), "stop", only=(A.target,)), "resume", spec=spec()).spec.targets == (B, A)
    c = C.model_copy(update={"instead_of": A.target})
    assert made(None, "resume", spec=spec(), reset={A.target: C}).spec.targets == (c, B)
    reset = made(started(), "resume", spec=spec(), reset={A.target: C})
    assert reset.spec.targets == (c, B)
    assert made(reset, "stop", only=(A.target,)).spec.targets == (B,), "by the name that the start gave it"
    assert made(reset, "stop", only=(C.target,)).spec.targets == (B,)
    assert refused(None, "resume") == "the command names no list"


def test_a_resume_without_a_list_forgets_times_that_are_over() -> None:
    stopped = made(started(start_ms=NOW - 5, end_ms=NOW + MINUTE), "stop")
    soon, late = made(stopped, "resume", NOW + 1), made(stopped, "resume", NOW + MINUTE)
    assert (soon.spec.start_ms, soon.spec.end_ms, late.spec.end_ms) == (None, NOW + MINUTE, None)


def status(target: Target, state: TargetState) -> TargetStatus:
    return TargetStatus(target=target.target, shown=target.shown, state=state, since_ms=1)


# How targets were one after the other, and which were then missed, or broken, when the run ended.
TARGETS: list[tuple[list[dict[str, TargetState]], list[str], list[str]]] = [
    ([], ["a", "b"], []),
    ([{"a": "live", "b": "live"}], [], []),
    ([{"a": "live", "b": "failed"}], ["b"], []),
    ([{"a": "ready", "b": "connecting"}], ["a", "b"], []),
    ([{"a": "live"}, {"a": "waiting"}, {"b": "live"}], [], ["a"]),
    ([{"a": "live"}, {"a": "failed"}, {"a": "live"}], ["b"], []),
    ([{"a": "live", "b": "live"}, {"a": "failed", "b": "waiting"}], [], ["a", "b"]),
    ([{"a": "live", "b": "live"}, {"b": "removed"}], ["b"], []),  # and given back, to no avail
]


@pytest.mark.parametrize(("ways", "missed", "broken"), TARGETS)
def test_an_end_says_which_targets_missed_it(
    ways: list[dict[str, TargetState]], missed: list[str], broken: list[str]
) -> None:
    named, record = {"a": A, "b": B}, started()
    for way in ways:
        statuses = [status(named[name], state) for name, state in way.items()]
        record = told(record, 1, statuses) or record
        assert told(record, 1, statuses) is None
    ended = over(record, 1, "ended", "", NOW)
    assert ended is not None
    news = event_of(ended, ended.untold[-1])
    assert news.missed == tuple(named[name].target for name in missed)
    assert news.broken == tuple(named[name].target for name in broken)
    assert event_of(record, record.untold[-1]).missed == ()
    assert told(ended, 1, [status(A, "live")]) is None
    assert told(record, 2, [status(A, "live")]) is None


def test_a_list_that_was_played_to_nobody_has_failed_and_one_whose_time_is_over_has_ended() -> None:
    starting = made(None, "start", spec=spec(end_ms=NOW + 9 * MINUTE))
    failed = over(starting, 1, "ended", "", NOW, "rtmp://h/a/***: refused")
    assert failed is not None
    assert (failed.state, failed.reason) == ("failed", "nothing was sent to any target: rtmp://h/a/***: refused")
    by_time = over(starting, 1, "ended", "its end's time has come", NOW, "refused")
    assert by_time is not None
    assert (by_time.state, event_of(by_time, by_time.untold[-1]).missed) == ("ended", (A.target, B.target))
    assert over(told(starting, 1, [status(A, "live")]), 1, "ended", "", NOW).state == "ended"  # type: ignore[union-attr]


def test_a_run_that_is_resumed_begins_with_no_target_reached() -> None:
    reached = told(started(), 1, [status(A, "live")])
    assert reached is not None
    assert reached.reached == (A.target,)
    resumed = made(made(reached, "stop"), "resume")
    assert (resumed.run, resumed.reached, resumed.created_ms) == (2, (), NOW)


def test_a_restream_is_as_old_as_its_first_command() -> None:
    record = apply(None, command("start", NOW - 5000, spec=spec()), NOW)
    assert isinstance(record, RestreamRecord)
    assert (record.created_ms, record.changed_ms) == (NOW - 5000, NOW)


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


def test_the_last_words_of_an_older_run_change_nothing() -> None:
    record = made(made(started(), "stop"), "start", spec=spec())
    assert (record.run, record.state) == (2, "starting")
    assert playing(record, 1, NOW) is None
    assert told(record, 1, (TargetStatus(target=A.target, shown="", state="live", since_ms=0),)) is None
    stopped = made(record, "stop")
    assert over(stopped, 2, "failed", "the reader broke", NOW) is None
    assert over(record, 1, "failed", "the reader broke", NOW) is None


def test_what_a_record_keeps_has_an_end() -> None:
    record = started()
    for number in range(100):
        record = made(record, "pause" if number % 2 == 0 else "resume", NOW + number)
    assert (len(record.commands), len(record.untold)) == (KEPT_COMMANDS, MOST_UNTOLD)
    assert [news.number for news in record.untold] == sorted(news.number for news in record.untold)
    assert record.untold[-1].state == "playing"
    for number in range(300):
        status = TargetStatus(target=f"{number:016x}", shown="", state="live", since_ms=0)
        record = told(record, 1, (status,)) or record
    assert len(record.reached) == MOST_KNOWN
    assert record.reached[-1] == f"{299:016x}"
