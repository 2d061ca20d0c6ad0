"""Who is told what of a restream: subscribers of commands and states, and of targets at a run's end."""

from __future__ import annotations

import pytest

from services.restreamer.decide import BEFORE, over, playing, told
from services.restreamer.following import event_of, refusal_of
from shared.messages.restreams import (
    TargetState,
    TargetStatus,
)
from tests.support.restream_commands import (
    MINUTE,
    NOW,
    RESTREAM,
    A,
    B,
    C,
    command,
    made,
    refused,
    spec,
    started,
    status,
    subscription,
)


def test_a_stop_may_name_whom_to_tell_and_what_is_repeated_stays_the_start_s() -> None:
    before, told = subscription("sealed:here", "a"), subscription("sealed:there", "b")
    record = made(started(subscription=before), "stop", only=(A.target,), subscription=told)
    assert record.spec.subscription == subscription("sealed:there", "a")
    record = made(started(), "stop", only=(A.target,), subscription=told)
    assert record.spec.subscription == told
    other = subscription(form="another_s")  # who is told in another form has nothing of what was repeated
    record = made(started(subscription=before), "stop", subscription=other)
    assert event_of(record, record.untold[-1]).subscription == other


def test_a_resume_s_subscription_lies_over_that_of_the_last_start_or_update() -> None:
    record = started(subscription=subscription(context="a"))
    for context in "bc":
        stopped = made(record, "stop")
        record = made(stopped, "resume", spec=spec(subscription=subscription(context=context)))
        told = record.spec.subscription
        assert told is not None
        assert (told.context, told.base) == (f"{RESTREAM}.{context * 16}", f"{RESTREAM}.{'a' * 16}")
        assert told.named == {told.context, told.base}
    updated = made(record, "update", spec=spec(subscription=subscription(context="d")))
    assert updated.spec.subscription == subscription(context="d"), "all of it is said anew"
    kept = made(made(updated, "stop"), "resume", spec=spec())
    assert kept.spec.subscription == subscription(context="d")
    other = subscription(context="e", form="another_s")
    assert made(made(record, "stop"), "resume", spec=spec(subscription=other)).spec.subscription == other
    assert made(None, "resume", spec=spec(subscription=other)).spec.subscription == other


def test_an_event_keeps_what_it_named_when_the_subscription_changes() -> None:
    record = started(subscription=subscription(context="a"))
    older = event_of(record, record.untold[-1])
    updated = made(record, "update", spec=spec(subscription=subscription(context="b")))
    stopped = made(updated, "stop")
    newer = event_of(stopped, stopped.untold[-1])
    assert (older.subscription, newer.subscription) == (subscription(context="a"), subscription(context="b"))


def test_a_client_is_told_of_a_command_that_changes_nothing_once() -> None:
    told = subscription()
    record, wish = started(), command("stop", only=(C.target,), subscription=told)
    event = refusal_of(record, wish, refused(record, "stop", only=(C.target,)))
    assert event is not None
    assert (event.subscription, event.refused) == (told, wish.command)
    assert event.text == "The command stop changed nothing: it has none of these targets"
    assert refusal_of(record, wish, BEFORE) is None
    assert refusal_of(record, command("finish", run=1), "its time has not come, or is over") is None


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


def test_the_last_words_of_an_older_run_change_nothing() -> None:
    record = made(made(started(), "stop"), "start", spec=spec())
    assert (record.run, record.state) == (2, "starting")
    assert playing(record, 1, NOW) is None
    assert told(record, 1, (TargetStatus(target=A.target, shown="", state="live", since_ms=0),)) is None
    stopped = made(record, "stop")
    assert over(stopped, 2, "failed", "the reader broke", NOW) is None
    assert over(record, 1, "failed", "the reader broke", NOW) is None
