"""The states of a live job: any order and any repetition of the same facts end in the same place."""

import itertools
import uuid
from datetime import timedelta
from functools import partial

import pytest

from services.gateway.domain.errors import StateConflict
from services.gateway.domain.jobs import state as job_state
from services.gateway.domain.jobs.entering import HISTORY
from shared.messages.jobs import JobRecord, StateChange
from shared.messages.live import LiveFinish, SessionEnded, SessionStarted
from shared.runtime.settings import TakeUp

EVENT = uuid.uuid4().hex
ONE, TWO, THREE = (uuid.uuid4().hex for _ in range(3))


def new_job(**fields: object) -> JobRecord:
    return JobRecord.model_validate(
        {
            "account": "main",
            "event": EVENT,
            "state": "standby",
            "history": (StateChange(state="standby", at_ms=1000),),
            "created_ms": 1000,
            "changed_ms": 1000,
            "stream_key": "-",
            "passphrase": "-",
        }
        | fields
    )


def begins(session: str, at_ms: int) -> SessionStarted:
    return SessionStarted(account="main", event=EVENT, session=session, protocol="rtmp", at_ms=at_ms, origin_ms=0)


def ends(session: str, at_ms: int) -> SessionEnded:
    return SessionEnded(
        account="main", event=EVENT, session=session, at_ms=at_ms, reason="disconnected", segments=1, bytes=1
    )


def waited(session: str | None, at_ms: int, reason: str = "reconnect_time") -> LiveFinish:
    return LiveFinish.model_validate(
        {"account": "main", "event": EVENT, "session": session, "reason": reason, "at_ms": at_ms}
    )


def apply(job: JobRecord, *facts: SessionStarted | SessionEnded) -> JobRecord:
    for fact in facts:
        job = job_state.started(job, fact) if isinstance(fact, SessionStarted) else job_state.ended(job, fact)
    return job


def test_a_job_goes_from_standby_to_finished() -> None:
    job = apply(new_job(), begins(ONE, 2000), ends(ONE, 3000), begins(TWO, 4000), ends(TWO, 5000))
    job = job_state.finish(job, waited(TWO, 9000))
    states = [c.state for c in job.history]
    assert states == ["standby", "processing", "disconnected", "processing", "disconnected", "finished"]
    assert job.revision == 5
    assert job.finished_ms == 5000, "the recording's end, not the end of the wait"


def test_a_fact_told_twice_changes_nothing() -> None:
    facts = [begins(ONE, 2000), ends(ONE, 3000), begins(TWO, 4000)]
    job = new_job()
    for fact in facts:
        job = apply(job, fact)
        assert apply(job, *facts[: facts.index(fact) + 1]) is job


def test_facts_in_any_order_end_in_the_same_state() -> None:
    facts = [begins(ONE, 2000), ends(ONE, 3000), begins(TWO, 4000), ends(TWO, 5000), begins(THREE, 6000)]
    for order in itertools.permutations(facts):
        job = apply(new_job(), *order)
        assert job.state == "processing"
        assert job.open_sessions == (THREE,)
        assert job.media_end_ms == 5000


def test_an_end_before_its_beginning_shows_the_session_in_the_history() -> None:
    job = apply(new_job(), ends(ONE, 3000), begins(ONE, 2000))
    assert [c.state for c in job.history] == ["standby", "processing", "disconnected"]
    assert job.session == ONE


def test_the_end_of_one_of_two_sessions_leaves_the_job_processing() -> None:
    job = apply(new_job(), begins(ONE, 2000), begins(TWO, 2500), ends(ONE, 3000))
    assert job.state == "processing"


def test_a_wait_that_is_over_too_late_ends_nothing() -> None:
    job = apply(new_job(), begins(ONE, 2000), ends(ONE, 3000), begins(TWO, 4000))
    assert job_state.finish(job, waited(ONE, 5000)) is job


def test_a_wait_after_an_earlier_session_ends_nothing() -> None:
    job = apply(new_job(), begins(ONE, 2000), begins(TWO, 2500), ends(TWO, 3000), ends(ONE, 4000))
    assert job_state.finish(job, waited(TWO, 5000)) is job
    assert job_state.finish(job, waited(ONE, 6000)).state == "finished"


def test_a_session_seen_only_in_the_ingester_s_records_keeps_the_job_alive() -> None:
    job = apply(new_job(), begins(ONE, 2000), ends(ONE, 3000))
    assert job_state.finish(job, waited(ONE, 5000), live=frozenset({TWO})) is job
    assert job_state.finish(job, waited(ONE, 5000), live=frozenset({ONE})).state == "finished"


def test_the_wait_s_end_counts_also_before_the_session_s_end_is_heard_of() -> None:
    job = job_state.finish(apply(new_job(), begins(ONE, 2000)), waited(ONE, 5000))
    assert job.state == "finished"
    assert apply(job, ends(ONE, 3000)) is job


def test_stopping_waits_for_the_session() -> None:
    job = job_state.stop(apply(new_job(), begins(ONE, 2000)), 4000)
    assert job.state == "finishing"
    assert apply(job, ends(ONE, 5000)).state == "finished"
    assert job_state.finish(job, waited(ONE, 9000)).state == "finished", "it need not report its end"


def test_stopping_and_cancelling_without_a_session_are_done_at_once() -> None:
    assert job_state.stop(new_job(), 2000).state == "finished"
    assert job_state.cancel(new_job(), 2000).state == "cancelled"


def test_cancelling_waits_for_the_session() -> None:
    job = job_state.cancel(apply(new_job(), begins(ONE, 2000)), 4000)
    assert job.state == "cancelling"
    assert apply(job, ends(ONE, 5000)).state == "cancelled"


def test_what_is_over_cannot_be_ended_the_other_way() -> None:
    with pytest.raises(StateConflict):
        job_state.cancel(job_state.stop(new_job(), 2000), 3000)
    with pytest.raises(StateConflict):
        job_state.stop(job_state.cancel(new_job(), 2000), 3000)


def test_event_length_stops_and_first_publish_spares_a_job_that_was_published_to() -> None:
    live = apply(new_job(), begins(ONE, 2000))
    assert job_state.finish(live, waited(None, 5000, "event_length")).state == "finishing"
    assert job_state.finish(live, waited(None, 5000, "first_publish")) is live
    assert job_state.finish(new_job(), waited(None, 5000, "first_publish")).state == "finished"


def test_a_static_job_waits_again() -> None:
    job = apply(new_job(static=True), begins(ONE, 2000), ends(ONE, 3000))
    job = job_state.finish(job, waited(ONE, 5000))
    assert job.state == "waiting"
    assert apply(job, begins(TWO, 6000)).state == "processing"


def test_an_ended_job_takes_no_session() -> None:
    job = job_state.stop(new_job(), 2000)
    assert apply(job, begins(ONE, 3000), ends(ONE, 4000)) is job


def test_thousands_of_reconnects_stay_bounded_and_old_news_stays_old() -> None:
    sessions = [uuid.uuid4().hex for _ in range(700)]
    job = new_job()
    for number, session in enumerate(sessions):
        job = apply(job, begins(session, 2000 + 20 * number), ends(session, 2010 + 20 * number))
    assert job.state == "disconnected"
    assert job.revision == 1400
    assert len(job.history) == HISTORY
    assert len(job.closed_sessions) == job_state.REMEMBERED_SESSIONS
    assert apply(job, begins(sessions[0], 2000), ends(sessions[0], 2010)) is job
    JobRecord.model_validate_json(job.model_dump_json())


def test_all_ends_heard_before_all_beginnings_leave_nothing_open() -> None:
    sessions = [uuid.uuid4().hex for _ in range(200)]
    job = apply(new_job(), *(ends(s, 2010 + 20 * n) for n, s in enumerate(sessions)))
    job = apply(job, *(begins(s, 2000 + 20 * n) for n, s in enumerate(sessions)))
    assert job.state == "disconnected"
    assert job.open_sessions == ()


def test_every_revision_is_announced_in_order_until_it_is_known_to_be_out() -> None:
    job = apply(new_job(), begins(ONE, 2000), ends(ONE, 3000))
    events = job_state.unannounced(job)
    assert [(e.revision, e.previous, e.state) for e in events] == [
        (0, None, "standby"),
        (1, "standby", "processing"),
        (2, "processing", "disconnected"),
    ]
    assert job_state.unannounced(job) == events
    assert job_state.unannounced(job.model_copy(update={"announced": 1})) == events[2:]
    assert job_state.unannounced(job.model_copy(update={"announced": 2})) == ()


def test_time_never_goes_back_in_the_history() -> None:
    job = apply(new_job(), begins(ONE, 5000), ends(ONE, 4000))
    assert [c.at_ms for c in job.history] == [1000, 5000, 5000]


def again(fact: SessionStarted | SessionEnded, resumed: int) -> SessionStarted | SessionEnded:
    return fact.model_copy(update={"resumed": resumed})


def test_a_session_that_was_declared_over_and_goes_on_heals_its_job() -> None:
    dead = ends(ONE, 3000)
    back, really = again(begins(ONE, 4000), 7), again(ends(ONE, 9000), 7)
    for order in itertools.permutations([begins(ONE, 2000), dead, back]):
        job = apply(new_job(), *order)
        assert (job.state, job.open_sessions) == ("processing", (ONE,))
        assert apply(job, begins(ONE, 2000), dead, back) is job
        assert job_state.finish(job, waited(ONE, 3500)) is job, "the wait after an end that was none"
    for last in itertools.permutations([begins(ONE, 2000), dead, back, really]):
        over = apply(new_job(), *last)
        assert (over.state, over.open_sessions, over.media_end_ms) == ("disconnected", (), 9000)
        wait = waited(ONE, 9500).model_copy(update={"resumed": 7})
        assert job_state.finish(over, wait).state == "finished"
        assert job_state.finish(over, waited(ONE, 3500)) is over


KEPT = timedelta(hours=1)
LATER = 10_000


def goes_on(take_up: TakeUp) -> job_state.GoesOn:
    return lambda job, at_ms: job.may_go_on(take_up, KEPT, at_ms)


ENDINGS = {
    "away": job_state.finish(apply(new_job(), begins(ONE, 2000), ends(ONE, 3000)), waited(ONE, 4000)),
    "asked": apply(job_state.stop(apply(new_job(), begins(ONE, 2000)), 3000), ends(ONE, 4000)),
    "asked, away": job_state.stop(apply(new_job(), begins(ONE, 2000), ends(ONE, 3000)), 4000),
    "length": apply(
        job_state.finish(apply(new_job(), begins(ONE, 2000)), waited(None, 3000, "event_length")), ends(ONE, 4000)
    ),
    "cancelled": job_state.cancel(apply(new_job(), begins(ONE, 2000), ends(ONE, 3000)), 4000),
}  # fmt: skip
TAKEN_UP: dict[TakeUp, set[str]] = {"never": set(), "away": {"away"}, "any": ENDINGS.keys() - {"cancelled"}}


@pytest.mark.parametrize("take_up", TAKEN_UP)
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_finished_job_is_taken_up_again_where_the_setting_says_so(take_up: TakeUp, ending: str) -> None:
    over = ENDINGS[ending]
    assert over.ended
    start = partial(job_state.started, goes_on=goes_on(take_up))
    job = start(over, begins(TWO, LATER))
    if ending not in TAKEN_UP[take_up]:
        assert job is over
        return
    assert (job.state, job.open_sessions, job.finished_ms, job.ending) == ("processing", (TWO,), None, "")
    assert start(job, begins(TWO, LATER)) is job
    assert start(over, begins(ONE, 2000)) is over, "an old session's news take nothing up"
    assert start(over, begins(TWO, 4000 + 3_600_000)) is over, "its recording is gone"
    early = job_state.ended(over, ends(TWO, LATER + 1000), goes_on(take_up))
    assert early.state == "finished"
    assert start(early, begins(TWO, LATER)).state == "finished", "it was over before it was heard of"
    again = job_state.finish(apply(job, ends(TWO, LATER + 1000)), waited(TWO, LATER + 2000))
    assert (again.state, again.ending) == ("finished", "away")


def test_a_session_of_a_cut_off_ingester_takes_up_the_job_that_was_not_waited_for_long_enough() -> None:
    over = ENDINGS["away"]
    back = begins(ONE, LATER).model_copy(update={"resumed": 7})
    assert job_state.started(over, back) is over
    assert job_state.started(over, back, goes_on("away")).state == "processing"
