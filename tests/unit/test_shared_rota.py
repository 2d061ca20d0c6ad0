"""Whose turn it is."""

from __future__ import annotations

from collections import Counter

import pytest

from shared.rota import AGAIN_S, REMEMBERED, Rota


def serve(rota: Rota, now: float = 0.0) -> str | None:
    account = rota.next(now)
    if account is not None:
        rota.asked(account, now, begins=True)
    return account


def took_all(rota: Rota, account: str) -> int:
    """Let an account have nothing more; gives how often it was asked."""
    asked = 0
    while (soonest := rota.soonest()) != float("inf"):
        assert rota.next(soonest) == account
        rota.asked(account, soonest, begins=False)
        asked += 1
    return asked


def waiting(*accounts: str) -> Rota:
    rota = Rota()
    for account in accounts:
        rota.expect(account, 0.0)
    return rota


def test_an_account_is_asked_once_at_a_time_and_in_an_ordered_queue_works_once_at_a_time() -> None:
    rota = waiting("a")
    assert (rota.next(0.0), rota.next(0.0), rota.soonest()) == ("a", None, float("inf"))
    rota.asked("a", 0.0, begins=True)
    assert rota.next(0.0) == "a"
    rota = Rota(ordered=True)
    rota.expect("a", 0.0)
    assert (serve(rota), serve(rota)) == ("a", None)
    rota.ended("a", 0.0)
    assert serve(rota) == "a"


def test_one_after_the_other_whoever_came_first() -> None:
    rota = waiting("a")
    assert [serve(rota) for _ in range(3)] == ["a", "a", "a"]
    rota.expect("b", 0.0)
    rota.expect("c", 0.0)
    assert [serve(rota) for _ in range(4)] == ["b", "c", "b", "c"], "until they have as much in work"


@pytest.mark.parametrize("slots", [1, 2, 3, 7])
def test_accounts_that_wait_all_the_time_get_equal_shares(slots: int) -> None:
    rota, starts = waiting("a", "b", "c"), Counter[str]()
    running: list[str] = []
    for _ in range(300):
        if len(running) == slots:
            rota.ended(running.pop(0), 0.0)
        account = serve(rota)
        assert account is not None
        running.append(account)
        starts[account] += 1
    assert max(starts.values()) - min(starts.values()) <= 1


def test_long_work_of_one_account_does_not_take_all_workers() -> None:
    """Three workers: a's work never ends, b's at once."""
    rota = waiting("a", "b")
    assert {serve(rota), serve(rota)} == {"a", "b"}
    rota.ended("b", 0.0)
    assert serve(rota) == "b"
    rota.ended("b", 0.0)
    assert serve(rota) == "b"
    assert serve(rota) in {"a", "b"}, "both have one in work"


def test_who_comes_with_one_piece_after_the_other_is_not_always_first() -> None:
    rota, starts = waiting("many"), list[str | None]()
    for _ in range(6):
        rota.expect("single", 0.0)
        account = serve(rota)
        starts.append(account)
        assert account is not None
        rota.ended(account, 0.0)
        if account == "single":
            rota._lines["single"].due.clear()  # it has nothing more
            rota._lines["single"].noted.clear()
    assert starts in (["many", "single"] * 3, ["single", "many"] * 3)


def test_who_has_nothing_is_asked_again_a_few_times_and_then_forgotten() -> None:
    rota, asked = waiting("a"), list[float]()
    now = 0.0
    while (soonest := rota.soonest()) != float("inf"):
        now = max(now, soonest)
        assert rota.next(now) == "a"
        rota.asked("a", now, begins=False)
        assert rota.next(now) is None
        asked.append(now)
    assert asked == pytest.approx(AGAIN_S)
    assert len(rota) == 0


def test_what_was_found_in_the_queue_is_asked_for_once() -> None:
    rota = Rota()
    rota.expect("a", 0.0, once=True)
    assert took_all(rota, "a") == 1


def test_what_is_heard_while_it_is_asked_is_not_missed() -> None:
    rota = waiting("a")
    assert rota.next(0.9) == "a"
    rota.expect("a", 1.0)
    rota.asked("a", 0.9, begins=False)
    assert rota.next(1.0) == "a"


def test_what_was_sent_back_is_asked_for_when_it_comes_again() -> None:
    rota = Rota()
    rota.expect("a", 5.0)
    assert (rota.next(4.9), rota.soonest(), rota.next(5.0)) == (None, 5.0, "a")


def test_many_at_nearly_the_same_time_are_one_and_memory_is_bounded() -> None:
    rota = Rota()
    for number in range(100_000):
        rota.expect("a", number / 1_000_000)
    asked = took_all(rota, "a")
    assert asked < 500
    for number in range(2 * REMEMBERED):
        rota.expect(f"account-{number}", 0.0)
        assert serve(rota) == f"account-{number}"
        rota.ended(f"account-{number}", 0.0)
        took_all(rota, f"account-{number}")
    assert len(rota) == 0
    assert len(rota._served) == REMEMBERED
