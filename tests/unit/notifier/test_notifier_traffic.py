"""A slow or dead receiver takes no place from another."""

from __future__ import annotations

from services.notifier.traffic import (
    FAILURES_BEFORE_PAUSE,
    KNOWN_RECEIVERS,
    LONGEST_WAIT_MS,
    PER_ACCOUNT,
    PER_RECEIVER,
    Traffic,
)

NOW = 1_000_000


def fail(traffic: Traffic, receiver: str, now: int, took: int = 15_000) -> None:
    traffic.learn("main", receiver, failed=True, took_ms=took, now_ms=now)


def test_a_receiver_gets_so_many_at_once_and_the_next_ones_wait() -> None:
    traffic = Traffic()
    assert [traffic.enter("main", "a", NOW) for _ in range(PER_RECEIVER)] == [0] * PER_RECEIVER
    assert traffic.enter("main", "a", NOW) > 0
    assert traffic.enter("main", "b", NOW) == 0
    traffic.leave("main", "a")
    assert traffic.enter("main", "a", NOW) == 0


def test_an_account_with_many_receivers_leaves_places_for_the_others() -> None:
    traffic = Traffic()
    began = sum(traffic.enter("main", f"r{n}", NOW) == 0 for n in range(2 * PER_ACCOUNT))
    assert began == PER_ACCOUNT
    assert traffic.enter("other", "r0", NOW) == 0


def test_a_receiver_that_fails_gets_one_at_a_time_and_then_pauses_that_grow() -> None:
    traffic, now, pauses = Traffic(), NOW, []
    fail(traffic, "a", now)
    assert traffic.enter("main", "a", now) == 0
    assert traffic.enter("main", "a", now) > 0
    traffic.leave("main", "a")
    for _ in range(FAILURES_BEFORE_PAUSE - 2):
        fail(traffic, "a", now)
    for _ in range(10):
        assert traffic.failing("main", "a") is bool(pauses)
        fail(traffic, "a", now)
        pause = 0
        while traffic.enter("main", "a", now + pause):
            pause += 500
        traffic.leave("main", "a")
        pauses.append(pause)
        now += pause
    assert pauses[:4] == [1000, 2000, 4000, 8000]
    assert pauses[-1] == LONGEST_WAIT_MS


def test_the_bounds_in_numbers() -> None:
    """4 at once to a receiver, 64 to an account's; the third failure in a row makes a pause."""
    traffic = Traffic()
    assert sum(traffic.enter("main", f"r{n}", NOW) == 0 for n in range(200)) == 64
    assert sum(traffic.enter("other", "r", NOW) == 0 for n in range(10)) == 4
    fail(traffic, "a", NOW)
    fail(traffic, "a", NOW)
    assert not traffic.failing("main", "a")
    fail(traffic, "a", NOW)
    assert traffic.failing("main", "a")
    fail(traffic, "b", NOW)
    assert traffic.enter("third", "b", NOW) == 0


def test_who_waits_for_a_slow_receiver_asks_again_later_than_who_waits_for_a_fast_one() -> None:
    def waits(took_ms: int) -> int:
        traffic = Traffic()
        for _ in range(PER_RECEIVER):
            traffic.enter("main", "a", NOW)
        for _ in range(40):
            traffic.learn("main", "a", failed=False, took_ms=took_ms, now_ms=NOW)
        return traffic.enter("main", "a", NOW)

    assert 50 <= waits(1) <= 60
    assert 2000 / PER_RECEIVER <= waits(2000) <= 1.3 * 2000 / PER_RECEIVER
    assert 8000 / PER_RECEIVER <= waits(8000) <= 1.3 * 8000 / PER_RECEIVER


def test_a_success_ends_the_pause() -> None:
    traffic = Traffic()
    for _ in range(20):
        fail(traffic, "a", NOW)
    traffic.learn("main", "a", failed=False, took_ms=5, now_ms=NOW)
    assert not traffic.failing("main", "a")
    assert [traffic.enter("main", "a", NOW) for _ in range(PER_RECEIVER)] == [0] * PER_RECEIVER


def test_another_account_s_failures_do_not_pause_a_receiver() -> None:
    traffic = Traffic()
    for _ in range(20):
        traffic.learn("bad", "a", failed=True, took_ms=5, now_ms=NOW)
    assert traffic.enter("main", "a", NOW) == 0


def test_those_who_wait_get_turns_one_behind_the_other_and_none_waits_long() -> None:
    traffic = Traffic()
    for _ in range(PER_RECEIVER):
        traffic.enter("main", "a", NOW)
        traffic.learn("main", "a", failed=False, took_ms=1000, now_ms=NOW)
    waits = [traffic.enter("main", "a", NOW) for _ in range(2000)]
    assert sum(waits[:10]) < sum(waits[100:110]) < sum(waits[500:510])
    assert max(waits) <= LONGEST_WAIT_MS * 1.2


def test_memory_is_bounded_and_what_is_under_way_is_not_forgotten() -> None:
    traffic = Traffic()
    assert traffic.enter("main", "busy", NOW) == 0
    for n in range(KNOWN_RECEIVERS + 10):
        traffic.learn("main", f"r{n}", failed=False, took_ms=1, now_ms=NOW)
    assert len(traffic._receivers) <= KNOWN_RECEIVERS
    traffic.leave("main", "busy")
    assert not traffic._accounts
