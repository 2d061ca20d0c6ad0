"""Strangers: how they are counted, who makes room, what is forgotten."""

from __future__ import annotations

from collections import deque
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.security.peers import MOST_KEYS, Budget, Waiting, network_of


class SetClock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.ns = 0

    def now_ms(self) -> int:
        return self.ns // 1_000_000

    def monotonic_ns(self) -> int:
        return self.ns


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::6", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("", ""),
        ("no address", "no address"),
    ],
)
def test_an_address_is_counted_under_its_network(address: str, network: str) -> None:
    assert network_of(address) == network


def test_the_oldest_of_the_busiest_network_makes_room() -> None:
    waiting: Waiting[str] = Waiting(4, 4)
    assert [waiting.add(peer, peer[0]) for peer in ("a1", "b1", "b2", "c1")] == [None] * 4
    assert waiting.add("d1", "d") == "b1"
    assert waiting.add("e1", "e") == "a1", "each has one: the oldest of all"
    assert waiting.everyone() == ["b2", "c1", "d1", "e1"]
    waiting.remove("c1")
    waiting.remove("c1")
    assert waiting.add("b2", "b") is None, "again, as the newest"
    assert waiting.everyone() == ["d1", "e1", "b2"]


def test_a_network_has_a_bound_of_its_own() -> None:
    waiting: Waiting[int] = Waiting(1000, 3)
    gone = [waiting.add(number, "one") for number in range(10)]
    assert gone == [None] * 3 + list(range(7))
    assert waiting.add(99, "other") is None


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 30), st.booleans())))
def test_whatever_comes_the_bounds_hold_and_the_tables_agree(steps: list[tuple[str, int, bool]]) -> None:
    waiting: Waiting[tuple[str, int]] = Waiting(8, 3)
    inside: deque[tuple[str, int]] = deque()
    for network, number, comes in steps:
        peer = (network, number)
        if peer in inside:
            inside.remove(peer)
        if comes:
            inside.append(peer)
            gone = waiting.add(peer, network)
            if gone is not None:
                assert gone != peer
                inside.remove(gone)
        else:
            waiting.remove(peer)
        assert waiting.everyone() == list(inside)
        assert len(waiting) <= 8
        assert all(sum(name == other for other, _ in inside) <= 3 for name in "abcdef")
    while waiting.make_room() is not None:
        pass
    assert not waiting._networks


def test_a_budget_is_spent_and_regained() -> None:
    clock = SetClock()
    budget = Budget(3, timedelta(seconds=1), clock)
    assert [budget.charge("a") for _ in range(4)] == [False, False, True, False]
    assert budget.spent("a")
    assert not budget.take("a")
    assert budget.take("b")
    clock.ns += 999_999_999
    assert budget.spent("a")
    assert budget.wait("a") == timedelta(microseconds=1)
    clock.ns += 1
    assert budget.wait("a") == timedelta()
    assert budget.take("a")
    assert not budget.take("a"), "what is over is regained one by one"
    clock.ns += 3_600_000_000_000
    assert [budget.take("a") for _ in range(4)] == [True, True, True, False]


def test_the_table_of_a_budget_is_bounded_and_forgets() -> None:
    clock = SetClock()
    budget = Budget(1, timedelta(seconds=1), clock)
    for number in range(3 * MOST_KEYS):
        budget.charge(number)
        assert len(budget) <= MOST_KEYS
    assert budget.spent(3 * MOST_KEYS - 1)
    assert not budget.spent(0)
    clock.ns += 1_000_000_000
    for _ in range(MOST_KEYS):  # others come, and what is full again goes
        budget.charge("new")
    assert len(budget) == 1
