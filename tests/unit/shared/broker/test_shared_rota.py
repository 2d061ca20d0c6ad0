"""Whose turn it is."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest

from shared.broker import rota as rotas
from shared.broker.rota import AGAIN, REMEMBERED, SPARE, TICKS, Rota


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
    assert asked == pytest.approx([later.total_seconds() for later in AGAIN])
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


def told(rota: Rota, now: float) -> tuple[str | None, float]:
    """Say by looking at all accounts who is next, and when the first of them may be asked."""
    tick, lines = rotas._floor(now), rota._lines.items()
    may = [(name, line) for name, line in lines if line.due and rota._may_ask(line)]
    ready = [(line.running, rota._served.get(name, 0), name) for name, line in may if line.due[0] <= tick]
    soonest = min((line.due[0] for _, line in may), default=math.inf) / TICKS
    return (min(ready)[2] if ready else None), soonest


@pytest.mark.parametrize("seed", range(40))
def test_whoever_comes_and_goes_the_next_is_who_has_least_and_waited_longest(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(rotas, "REMEMBERED", 5)
    chance = random.Random(seed)
    rota, now, asking = Rota(ordered=seed % 2 == 0), 0.0, list[str]()
    running: list[str] = []
    for _ in range(1500):
        match chance.randrange(6):
            case 0 | 1:
                delay = chance.choice([0.0, 0.0, 0.01, 0.7, 100.0])
                rota.expect(f"a{chance.randrange(8)}", now + delay, once=chance.random() < 0.5)
            case 2 if running:
                rota.ended(running.pop(chance.randrange(len(running))), now)
            case 3 if asking:
                account, begins = asking.pop(chance.randrange(len(asking))), chance.random() < 0.6
                rota.asked(account, now - chance.choice([0.0, 0.02]), begins=begins)
                running += [account] * begins
            case 4:
                now += chance.choice([0.001, 0.01, 0.5, 60.0])
            case _:
                who, soonest = told(rota, now)
                assert rota.soonest() == soonest
                found = rota.next(now)
                assert found == who
                asking += [found] if found else []
        assert max(len(rota._ripe), len(rota._later)) <= 2 * 8 + SPARE


def test_a_turn_looks_at_a_few_accounts_however_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    rota, looks, rank_of = Rota(), [0], Rota._rank_of
    for number in range(10_000):
        rota.expect(f"a{number}", 0.0, once=True)

    def counted(self: Rota, account: str, line: rotas._Line) -> rotas.Rank:
        looks[0] += 1
        return rank_of(self, account, line)

    assert serve(rota) is not None, "the first one puts all in order"
    monkeypatch.setattr(Rota, "_rank_of", counted)
    assert len({serve(rota) for _ in range(1000)}) == 1000
    assert looks[0] < 5000
