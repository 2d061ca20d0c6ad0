"""When a delivery is tried again, and when it is given up."""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest

from services.notifier.retries import DEFAULT, KEPT_ATTEMPTS, Outcome, Policy, abandoned, replayed, settled
from shared.messages.notifications import DeliveryRecord

T0 = 1_700_000_000_000
HOUR = 3_600_000
SHARP = Policy(jitter=0)


def record() -> DeliveryRecord:
    return DeliveryRecord(
        account="main", delivery="d" * 32, lane="a" * 32, position=1, url="https://example.com/", type="clips.x",
        resource="c" * 32, payload={}, state="pending", created_ms=T0, deadline_ms=T0 + 24 * HOUR,
    )  # fmt: skip


def test_a_receiver_that_never_answers_is_tried_with_growing_delays_for_24_hours_and_then_given_up() -> None:
    now, one, gaps = T0, record(), []
    while one.state == "pending":
        one = settled(one, Outcome(503, "HTTP 503"), now, SHARP)
        if one.next_ms is not None:
            gaps.append(timedelta(milliseconds=one.next_ms - now))
            now = one.next_ms
    assert gaps[:8] == list(DEFAULT.delays)
    assert all(later >= earlier for earlier, later in itertools.pairwise(gaps[:-1]))
    assert now == one.finished_ms == one.deadline_ms == T0 + 24 * HOUR  # the last try is at the very end
    assert (one.state, one.next_ms, len(one.attempts)) == ("dead", None, len(gaps) + 1)
    assert "HTTP 503" in one.error
    assert one.attempts[0].at_ms == T0


def test_jitter_lengthens_a_delay_by_a_tenth_at_most() -> None:
    waits = {settled(record(), Outcome(error="x"), T0, DEFAULT).next_ms or 0 for _ in range(200)}
    assert len(waits) > 1
    assert min(waits) >= T0 + 5000
    assert max(waits) <= T0 + 5500


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_any_2xx_is_delivered(status: int) -> None:
    one = settled(record(), Outcome(status, took_ms=7), T0, SHARP)
    assert (one.state, one.next_ms, one.finished_ms, one.attempts[0].duration_ms) == ("delivered", None, T0, 7)


@pytest.mark.parametrize("status", [101, 301, 302, 400, 401, 404, 429, 500, 599, None])
def test_anything_else_is_tried_again(status: int | None) -> None:
    assert settled(record(), Outcome(status, "x"), T0, SHARP).next_ms == T0 + 5000


def test_gone_is_final() -> None:
    one = settled(record(), Outcome(410, "HTTP 410"), T0, SHARP)
    assert (one.state, one.next_ms) == ("dead", None)
    assert "Gone" in one.error


def test_a_receiver_may_ask_for_more_time_but_not_past_the_end() -> None:
    patient = settled(record(), Outcome(429, "x", timedelta(minutes=5)), T0, SHARP)
    assert patient.next_ms == T0 + 300_000
    late = settled(record(), Outcome(429, "x", timedelta(hours=4)), T0 + 23 * HOUR, SHARP)
    assert late.next_ms == T0 + 24 * HOUR
    impatient = settled(record(), Outcome(429, "x", timedelta(seconds=1)), T0, SHARP)
    assert impatient.next_ms == T0 + 5000


def test_a_replay_begins_the_24_hours_and_the_delays_anew_and_counts_once() -> None:
    dead = abandoned(settled(record(), Outcome(error="x"), T0, SHARP), "why", T0 + 24 * HOUR)
    now = T0 + 30 * HOUR
    again = replayed(dead, now - 5, now, SHARP)
    assert again is not None
    assert (again.state, again.tries, again.deadline_ms, again.error) == ("pending", 0, now + 24 * HOUR, "")
    assert again.attempts == dead.attempts  # the history stays
    assert replayed(again, now - 5, now, SHARP) is None
    assert replayed(again, now - 6, now, SHARP) is None
    assert settled(again, Outcome(error="x"), now, SHARP).next_ms == now + 5000


def test_the_history_is_bounded() -> None:
    one = record()
    for _ in range(KEPT_ATTEMPTS + 5):
        one = settled(one, Outcome(error="x" * 2000), T0, SHARP)
    assert (len(one.attempts), one.tries) == (KEPT_ATTEMPTS, KEPT_ATTEMPTS + 5)
    assert len(one.attempts[-1].error) == 512
