"""When a delivery is tried again, and when it is given up."""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest

from services.notifier.forms import FORMS
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
    assert FORMS["standard"].accepted(status, b"")
    one = settled(record(), Outcome(status, took_ms=7, delivered=True), T0, SHARP)
    assert (one.state, one.next_ms, one.finished_ms, one.attempts[0].duration_ms) == ("delivered", None, T0, 7)


@pytest.mark.parametrize("status", [101, 301, 302, 400, 401, 404, 429, 500, 599, None])
def test_anything_else_is_tried_again(status: int | None) -> None:
    assert status is None or not FORMS["standard"].accepted(status, b"yes")
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


def callback() -> DeliveryRecord:
    return record().model_copy(update={"brief": True, "deadline_ms": SHARP.deadline_ms(T0, brief=True)})


def tried(one: DeliveryRecord, outcome: Outcome, deaf: int = 0) -> tuple[DeliveryRecord, list[int]]:
    """Try until it is over; gives what came of it, and the pauses in s."""
    now, pauses = T0, []
    while one.state == "pending":
        one = settled(one, outcome, now, SHARP, deaf)
        if one.next_ms is not None:
            pauses.append((one.next_ms - now) // 1000)
            now = one.next_ms
    return one, pauses


UNREAD = [
    Outcome(204, "HTTP 204"), Outcome(200, "HTTP 200 without a body"),
    Outcome(500, "HTTP 500"), Outcome(410, "HTTP 410"),
    Outcome(error="no answer within 15 s"), Outcome(429, "HTTP 429", timedelta(hours=1)),
]  # fmt: skip


@pytest.mark.parametrize("outcome", UNREAD, ids=lambda o: o.error)
@pytest.mark.parametrize(("deaf", "tries"), [(0, 4), (1, 3), (2, 2), (3, 2), (99, 2)])
def test_a_callback_that_reaches_its_receiver_is_tried_a_few_times(outcome: Outcome, deaf: int, tries: int) -> None:
    one, pauses = tried(callback(), outcome, deaf)
    assert (one.state, one.tries) == ("dead", tries)
    assert one.error == f"not accepted in {tries} tries; at last: {outcome.error}"
    assert sum(pauses) <= 90
    assert all(later >= earlier for earlier, later in itertools.pairwise(pauses))


def test_a_callback_is_called_for_longer_while_its_receiver_cannot_be_reached() -> None:
    one, pauses = tried(callback(), Outcome(error="no connection", reached=False))
    assert one.finished_ms == T0 + HOUR
    assert max(pauses) == 30
    assert "not delivered in time; at last: no connection" in one.error


def test_a_callback_that_is_sent_again_has_all_its_tries_again() -> None:
    one, _ = tried(callback(), UNREAD[0])
    again = replayed(one, T0 + HOUR, T0 + HOUR, SHARP)
    assert again is not None
    assert (again.deadline_ms, again.heard) == (T0 + 2 * HOUR, 0)
    assert tried(again, UNREAD[0])[0].tries == 4


def test_who_says_no_to_a_callback_is_not_spared_as_one_that_fails() -> None:
    assert [outcome.spares(brief=True) for outcome in UNREAD] == [False, False, False, False, True, False]
    assert all(outcome.spares(brief=False) for outcome in UNREAD)
    assert not Outcome(200, delivered=True).spares(brief=False)
    assert not Outcome(200, delivered=True).spares(brief=True)
    assert not any(outcome.delivered for outcome in UNREAD)
