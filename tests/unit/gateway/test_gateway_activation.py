"""Static entry points: what activates and deactivates them, in any order, and told twice."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from services.gateway.domain.errors import StateConflict
from services.gateway.domain.jobs import activation
from services.gateway.domain.jobs import state as job_state
from services.scheduler import timers
from shared.messages.jobs import EntryPoint, JobRecord
from shared.messages.live import LiveFinish
from shared.messages.schedules import EventTimers
from tests.unit.gateway.test_gateway_job_state import EVENT, ONE, TWO, apply, begins, ends, new_job, waited


def entry_point(**fields: object) -> JobRecord:
    return new_job(static=True, entry=EntryPoint(), **fields)


def active(job: JobRecord | None = None, at_ms: int = 2000) -> JobRecord:
    return activation.activate(job or entry_point(), at_ms)


def seen(job: JobRecord) -> list[tuple[str, str]]:
    return [(event.state, event.sep_state) for event in job_state.unannounced(job)]


def test_one_is_activated_again_and_again() -> None:
    job = entry_point()
    for round_ in range(3):
        start = 10_000 * (round_ + 1)
        session = f"{round_ + 1:032x}"
        assert (job.accepts_publisher, job.is_inactive) == (False, True)
        job = active(job, start)
        assert active(job, start + 1) is job
        assert job.accepts_publisher
        assert job.entry is not None
        assert job.entry.first_ms is None
        job = apply(job, begins(session, start + 100))
        assert job.entry is not None
        assert (job.entry.number, job.entry.first_ms) == (round_ + 1, start + 100)
        job = activation.deactivate(job, start + 200)
        assert not job.accepts_publisher
        job = apply(job, ends(session, start + 300))
        assert (job.state, job.broadcast_over) == ("standby", True)
    round_trip = [
        ("waiting", "ready"), ("processing", "ready"), ("finishing", "deactivation_in_progress"), ("standby", "ready"),
    ]  # fmt: skip
    assert seen(job) == [("standby", "none"), *round_trip * 3]


def test_without_an_encoder_it_is_inactive_at_once() -> None:
    job = activation.deactivate(active(), 3000)
    assert (job.state, job.broadcast_over, activation.deactivate(job, 4000)) == ("standby", False, job)


def test_a_session_that_is_told_late_does_not_wake_it() -> None:
    job = activation.deactivate(active(), 3000)
    job = apply(job, begins(ONE, 2900))
    assert (job.state, job.accepts_publisher) == ("standby", False)
    assert apply(job, ends(ONE, 3100)).state == "standby"
    assert apply(activation.deactivate(active(), 3000), ends(ONE, 3100)).state == "standby"


def test_a_session_that_is_told_in_the_next_activation_is_not_its_first() -> None:
    job = activation.deactivate(active(), 3000)
    job = apply(active(job, 10_000), begins(ONE, 2900))
    assert job.entry is not None
    assert (job.entry.number, job.entry.first_ms) == (2, None)
    assert activation.no_encoder(job) is not None, "its own encoder is still waited for"
    job = apply(job, ends(ONE, 3000), begins(TWO, 11_000))
    assert job.entry is not None
    assert job.entry.first_ms == 11_000


def test_an_encoder_that_stays_away_deactivates_it() -> None:
    job = apply(active(), begins(ONE, 2500), ends(ONE, 3000))
    assert job.state == "disconnected"
    job = job_state.finish(job, waited(ONE, 9000))
    assert (job.state, job.is_inactive) == ("standby", True)
    again = active(job, 10_000)
    assert job_state.finish(again, waited(ONE, 9000)) is again, "the wait of the activation before, told again"
    assert job_state.finish(again, waited(ONE, 11_000)) is again, "the same, late"


def test_one_to_which_no_encoder_comes_is_deactivated() -> None:
    job = active()
    wait = activation.no_encoder(job)
    assert wait is not None
    assert wait.at_ms == 2000 + 1_800_000
    assert job_state.finish(job, wait).state == "standby"
    begun = apply(job, begins(ONE, 2500))
    assert (activation.no_encoder(begun), job_state.finish(begun, wait)) == (None, begun)
    later = active(activation.deactivate(job, 3000), 4000)
    assert job_state.finish(later, wait) is later, "of the activation before"
    short = activation.no_encoder(active(entry_point(event_length_s=60, reconnect_time_s=30)))
    assert short is not None
    assert short.at_ms == 62_000


def length(at_ms: int) -> LiveFinish:
    return LiveFinish(account="main", event=EVENT, reason="event_length", at_ms=at_ms)


def test_its_full_length_deactivates_it_and_counts_from_each_activation() -> None:
    job = apply(active(entry_point(event_length_s=60)), begins(ONE, 2500))
    assert (job_state.finish(job, length(62_500)).state, job.entry and job.entry.first_ms) == ("finishing", 2500)
    job = apply(job_state.finish(job, length(62_500)), ends(ONE, 62_600))
    again = apply(active(job, 70_000), begins(TWO, 71_000))
    assert job_state.finish(again, length(62_500)) is again
    known = EventTimers(account="main", event=EVENT)
    for change in (timers.started(known, ONE, 2500), None):
        known = change or known
    known = timers.ended(known, ONE, 62_600) or known
    assert timers.wanted(known, job) == ()
    assert timers.wanted(known, active(job, 70_000)) == (), "nothing of the activation before"
    known = timers.started(known, TWO, 71_000) or known
    assert [timer.at_ms for timer in timers.wanted(known, again)] == [131_000]


def test_stop_and_cancel_end_it_whatever_it_does() -> None:
    running = apply(active(), begins(ONE, 2500))
    for job in (entry_point(), active(), running, activation.deactivate(running, 3000)):
        stopped, cancelled = job_state.stop(job, 4000), job_state.cancel(job, 4000)
        stopped, cancelled = apply(stopped, ends(ONE, 5000)), apply(cancelled, ends(ONE, 5000))
        assert (stopped.state, stopped.sep_state) == ("finished", "finished")
        assert (cancelled.state, cancelled.sep_state) == ("cancelled", "cancelled")
        for how in (activation.activate, activation.deactivate):
            with pytest.raises(StateConflict):
                how(stopped, 6000)


def test_a_deactivation_whose_encoder_never_says_goodbye_ends_all_the_same() -> None:
    job = activation.deactivate(apply(active(), begins(ONE, 2500)), 3000)
    assert job_state.finish(job, waited(ONE, 33_000)).state == "standby"


@pytest.mark.parametrize("how", [activation.activate, activation.deactivate])
def test_what_it_is_not_for(how: Callable[[JobRecord, int], JobRecord]) -> None:
    with pytest.raises(StateConflict, match="no static entry point"):
        how(new_job(), 2000)
    with pytest.raises(StateConflict, match="always active"):
        how(new_job(static=True), 2000)


def test_it_is_not_activated_while_it_is_being_deactivated() -> None:
    job = activation.deactivate(apply(active(), begins(ONE, 2500)), 3000)
    with pytest.raises(StateConflict, match="being deactivated"):
        activation.activate(job, 3100)
