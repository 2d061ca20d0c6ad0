"""Which timers an event has, whatever the order in which its story arrives."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.due import command_of
from services.scheduler.timers import KEPT_SESSIONS, ended, length_name, reconnect_name, started, wanted
from shared.errors import Permanent
from shared.messages.jobs import JobRecord
from shared.messages.live import JobState, LiveFinish
from shared.messages.media import RecordingsSweep
from shared.messages.schedules import Due, EventTimers

EVENT, T0 = "e" * 32, 1_700_000_000_000
FIRST, SECOND, THIRD = "1" * 32, "2" * 32, "3" * 32
Fact = Callable[[EventTimers], EventTimers | None]


def job(state: JobState = "processing", reconnect: int = 60, length: int = 0) -> JobRecord:
    return JobRecord(
        account="main", event=EVENT, state=state, created_ms=0, changed_ms=0, reconnect_time_s=reconnect,
        event_length_s=length, stream_key="-", passphrase="-",
    )  # fmt: skip


def began(session: str, at_s: int) -> Fact:
    return lambda timers: started(timers, session, T0 + at_s * 1000)


def over(session: str, at_s: int) -> Fact:
    return lambda timers: ended(timers, session, T0 + at_s * 1000)


def story(*facts: Fact) -> EventTimers:
    timers = EventTimers(account="main", event=EVENT)
    for fact in facts:
        timers = fact(timers) or timers
    return timers


def due(timers: EventTimers, record: JobRecord) -> dict[str, int]:
    return {timer.name: (timer.at_ms - T0) // 1000 for timer in wanted(timers, record)}


def test_nothing_is_set_while_a_session_is_live() -> None:
    assert due(story(began(FIRST, 0)), job()) == {}


def test_an_event_ends_its_reconnect_time_after_its_last_session() -> None:
    timers = wanted(story(began(FIRST, 0), over(FIRST, 10)), job(reconnect=60))
    assert [(t.name, t.at_ms, t.target) for t in timers] == [(reconnect_name(EVENT), T0 + 70_000, "live.finish")]
    command = LiveFinish.model_validate(timers[0].body)
    assert (command.session, command.reason, command.at_ms) == (FIRST, "reconnect_time", T0 + 70_000)


def test_an_event_s_length_counts_from_its_first_session() -> None:
    told = story(began(SECOND, 100), over(FIRST, 50), began(FIRST, 5))
    timers = {t.name: t for t in wanted(told, job(length=3600))}
    assert list(timers) == [length_name(EVENT)]
    command = LiveFinish.model_validate(timers[length_name(EVENT)].body)
    assert (command.session, command.reason, command.at_ms) == (None, "event_length", T0 + 3_605_000)


STORIES: list[tuple[list[Fact], dict[str, int]]] = [
    # a reconnect
    ([began(FIRST, 0), over(FIRST, 10), began(SECOND, 20)], {}),
    ([began(FIRST, 0), over(FIRST, 10), began(SECOND, 20), over(SECOND, 30)], {reconnect_name(EVENT): 90}),
    # a publisher that took over ends the one before after it began itself
    ([began(FIRST, 0), began(SECOND, 10), over(FIRST, 11)], {}),
    ([began(FIRST, 0), began(SECOND, 10), over(SECOND, 12), over(FIRST, 40)], {reconnect_name(EVENT): 100}),
]


@pytest.mark.parametrize(("facts", "result"), STORIES)
def test_the_order_in_which_events_arrive_makes_no_difference(facts: list[Fact], result: dict[str, int]) -> None:
    for order in itertools.permutations(facts):
        assert due(story(*order), job()) == result
        assert due(story(*order, *order), job()) == result  # every message twice


def test_a_session_that_goes_on_after_all_is_not_waited_for() -> None:
    def resumed(at_s: int) -> Fact:
        return lambda timers: started(timers, FIRST, T0 + at_s * 1000, 7)

    def ended_then(at_s: int) -> Fact:
        return lambda timers: ended(timers, FIRST, T0 + at_s * 1000, 7)

    facts = [began(FIRST, 0), over(FIRST, 10), resumed(20)]
    for order in itertools.permutations(facts):
        assert due(story(*order, *order), job()) == {}
    for order in itertools.permutations([*facts, ended_then(90)]):
        (timer,) = wanted(story(*order, *order), job(reconnect=60))
        assert (timer.at_ms, timer.body["resumed"]) == (T0 + 150_000, 7)


@pytest.mark.parametrize("state", ["finished", "cancelled", "failed", "error"])
def test_an_event_that_has_ended_has_no_timers(state: JobState) -> None:
    assert wanted(story(began(FIRST, 0), over(FIRST, 1)), job(state, length=10)) == ()


def test_the_same_news_again_changes_nothing() -> None:
    timers = story(began(FIRST, 0), over(FIRST, 10))
    assert began(FIRST, 0)(timers) is None
    assert over(FIRST, 10)(timers) is None
    assert over(FIRST, 12)(timers) is None  # the first word about a moment stays


def test_what_is_remembered_is_bounded_and_old_copies_revive_nothing() -> None:
    facts = [f for n in range(100) for f in (began(f"{n:032x}", n * 10), over(f"{n:032x}", n * 10 + 5))]
    timers = story(*facts)
    assert len(timers.sessions) == KEPT_SESSIONS
    assert due(timers, job()) == {reconnect_name(EVENT): 995 + 60}
    for fact in facts:
        timers = fact(timers) or timers
    assert due(timers, job()) == {reconnect_name(EVENT): 995 + 60}
    lost = story(*(began(f"{n:032x}", n) for n in range(100)))  # sessions whose end was never told
    assert len(lost.sessions) == KEPT_SESSIONS


@given(st.lists(st.tuples(st.sampled_from([FIRST, SECOND, THIRD]), st.booleans(), st.integers(0, 50)), max_size=12))
def test_no_story_sets_a_timer_while_a_session_is_live(told: list[tuple[str, bool, int]]) -> None:
    facts = [(began if start else over)(session, at) for session, start, at in told]
    timers = story(*facts)
    live = {s for s, start, _ in told if start} - {s for s, start, _ in told if not start}
    assert bool(due(timers, job())) is (bool(told) and not live)


def test_a_due_command_is_the_one_that_was_scheduled() -> None:
    finish = LiveFinish(account="main", event=EVENT, reason="event_length", at_ms=5)
    body = finish.model_dump(mode="json")
    assert command_of(Due(account="main", name="x", at_ms=5, target="live.finish", body=body)) == finish


@pytest.mark.parametrize(
    ("target", "account"),
    [
        ("live.nothing", "main"),
        ("live.job.state_changed", "main"),  # an event
        ("exports.deliver", "main"),  # the clipper's command
        ("live.finish", "other"),  # another account's
        ("live.finish", "main"),  # no such fields
    ],
)
def test_what_is_no_command_of_ours_is_refused(target: str, account: str) -> None:
    body = RecordingsSweep(account="main", tick_ms=1).model_dump(mode="json")
    if account == "other":
        body = LiveFinish(account="main", event=EVENT, reason="event_length", at_ms=5).model_dump(mode="json")
    with pytest.raises((Permanent, ValueError)):
        command_of(Due(account=account, name="x", at_ms=5, target=target, body=body))
