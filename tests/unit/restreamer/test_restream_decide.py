"""What commands make of a restream's record."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from services.restreamer.decide import KEPT_COMMANDS, MOST_KNOWN, MOST_UNTOLD, RESUMABLE, apply, over, playing, told
from services.restreamer.following import event_of
from shared.messages.restream_commands import Verb
from shared.messages.restreams import (
    Encoding,
    RestreamRecord,
    TargetStatus,
)
from tests.support.restream_commands import (
    MINUTE,
    NOW,
    A,
    B,
    C,
    command,
    item,
    made,
    refused,
    spec,
    started,
    states,
    subscription,
    target,
)
from tests.support.restream_orders import VERBS


def test_a_start_plays_and_its_events_are_in_order() -> None:
    record = started()
    assert (record.state, record.run, record.started_ms, record.created_ms) == ("playing", 1, NOW + 500, NOW)
    assert states(record) == [(1, "starting"), (1, "playing")]
    assert playing(record, 1, NOW + 600) is None
    back = made(record, "pause", NOW + 400)  # a clock that went back
    ordered = [news.number for news in back.untold]
    assert ordered == sorted(set(ordered))


def test_a_start_over_a_running_one_ends_that_one_first() -> None:
    running = started(subscription=subscription())
    wish = command("start", spec=spec("three"))
    stopped = apply(running, wish, NOW)
    assert isinstance(stopped, RestreamRecord)
    assert (states(stopped)[-1], stopped.reason) == ((1, "stopped"), "started anew")
    assert event_of(stopped, stopped.untold[-1]).subscription == subscription()
    record = apply(stopped, wish, NOW)
    assert isinstance(record, RestreamRecord)
    assert (record.run, record.chain, states(record)) == (2, 2, [(2, "starting")])
    assert record.number > stopped.number
    assert over(record, 1, "ended", "", NOW) is None  # the old holder's last word comes too late


# Every order but a start and a resume, with what it has to say.
CHANGES: dict[Verb, dict[str, Any]] = {
    "stop": {}, "update": {"items": [item("new")]}, "pause": {}, "skip": {}, "seek": {"item": 0},
    "targets": {"targets": (A,)}, "begin": {"run": 1}, "finish": {"run": 1},
}  # fmt: skip


def test_what_cannot_be_done_says_why() -> None:
    assert {*CHANGES, "start", "resume"} == set(VERBS)
    stopped = made(started(), "stop")
    for verb, fields in CHANGES.items():
        assert refused(None, verb, **fields) == "the restream is not known"
        if verb not in {"begin", "finish"}:
            assert refused(stopped, verb, **fields) == "it is stopped"
    assert refused(started(), "seek", item=2) == "the list has no such file"
    assert refused(started(), "stop", only=(C.target,)) == "it has none of these targets"


@pytest.mark.parametrize("verb", ["start", "update", "seek", "targets", "begin", "finish"])
def test_what_an_order_needs_it_has(verb: Verb) -> None:
    with pytest.raises(ValidationError):
        command(verb)


def test_stopping_some_targets_and_then_the_last() -> None:
    record = made(started(), "stop", only=(A.target, C.target))
    assert (record.state, record.spec.targets) == ("playing", (B,))
    record = made(record, "stop", only=(B.target,))
    assert (record.state, record.spec.targets, record.finished_ms) == ("stopped", (B,), NOW)


def test_what_the_broker_would_not_take_is_refused() -> None:
    many, more = ([item(f"{n}" + "x" * length) for n in range(400)] for length in (1000, 1200))
    assert made(started(), "update", spec=spec(items=many))
    assert refused(started(), "update", spec=spec(items=more)) == "the list is too long"


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
    told = subscription()
    record = made(record, "update", spec=spec("new", end_ms=NOW + 2 * MINUTE, subscription=told))
    assert (record.spec.end_ms, record.spec.subscription) == (NOW + 2 * MINUTE, told)


def test_a_resume_goes_on_for_48_hours_after_a_stop() -> None:
    told = subscription()
    was = {"loops": 3, "first": 1, "subscription": told, "end_ms": NOW * 2, "encoding": Encoding()}
    stopped = made(started(**was), "stop")
    limit = NOW + RESUMABLE // timedelta(milliseconds=1)
    resumed = made(stopped, "resume", limit, spec=spec("two", "one"), reset={B.target: C})
    assert (resumed.run, resumed.chain, resumed.state) == (2, 1, "starting")
    c = C.model_copy(update={"instead_of": B.target})
    assert (resumed.spec.targets, resumed.spec.loops, resumed.spec.first) == ((A, c), 3, 1)
    assert (resumed.spec.subscription, resumed.spec.end_ms, resumed.spec.encoding) == (told, NOW * 2, None)
    newly = made(stopped, "resume", spec=spec(end_ms=NOW * 3))
    assert (newly.spec.subscription, newly.spec.end_ms) == (told, NOW * 3)
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


def test_a_restream_is_as_old_as_its_first_command() -> None:
    record = apply(None, command("start", NOW - 5000, spec=spec()), NOW)
    assert isinstance(record, RestreamRecord)
    assert (record.created_ms, record.changed_ms) == (NOW - 5000, NOW)


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
