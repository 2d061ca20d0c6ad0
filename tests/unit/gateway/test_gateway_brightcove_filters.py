"""Brightcove's forms of query parameters: which values and which times they mean."""

from __future__ import annotations

import pytest

from services.gateway.domain.errors import Invalid
from services.gateway.domain.lists.orders import ALL_TIME, ListRow, Orders, Wanted
from services.gateway.facades.brightcove.filters import span, values

FIRST, LAST = ALL_TIME
VALUES: list[tuple[list[str], set[str]]] = [
    (["finished"], {"finished"}),
    (["[processing,disconnected]"], {"processing", "disconnected"}),
    (["[ processing , disconnected ]"], {"processing", "disconnected"}),
    (["'1234'"], {"1234"}),
    (['"1234"'], {"1234"}),
    (["['first, 30 secs','last']"], {"first, 30 secs", "last"}),
    (["first 30 secs"], {"first 30 secs"}),
    (["''"], {""}),
    (["a", "[b,c]"], {"a", "b", "c"}),
]
TIMES: list[tuple[list[str], tuple[int, int]]] = [
    ([], ALL_TIME),
    (["1514764800000"], (1514764800000, 1514764800000)),
    (["gt:5"], (6, LAST)),
    (["ge:5"], (5, LAST)),
    (["lt:5"], (FIRST, 4)),
    (["le:5"], (FIRST, 5)),
    (["gt:5", "le:9"], (6, 9)),
    (["'gt:5'"], (6, LAST)),
    (["gt:9", "lt:5"], (10, 4)),  # nothing
]


@pytest.mark.parametrize(("given", "meant"), VALUES, ids=[str(case[0]) for case in VALUES])
def test_values(given: list[str], meant: set[str]) -> None:
    assert values("state", given) == meant


def test_no_parameter_is_no_filter() -> None:
    assert values("state", None) is None


@pytest.mark.parametrize(
    "text", ["", "[]", "[a,]", "[a", "a]", "'a", "a'b", "[a b,'c'd]", " " * 8000 + "'", "x" * 9000]
)
def test_what_is_no_value(text: str) -> None:
    with pytest.raises(Invalid, match=r"^state: "):
        values("state", [text])


@pytest.mark.parametrize(("given", "meant"), TIMES, ids=[str(case[0]) for case in TIMES])
def test_times(given: list[str], meant: tuple[int, int]) -> None:
    assert span("created_at", given) == meant


@pytest.mark.parametrize("text", ["", "gt:", "eq:5", "5-9", "-5", "1e3", "gt:5,lt:9", "1" * 16])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(Invalid, match=r"^created_at: "):
        span("created_at", [text])


def test_one_of_several_values_in_either_order() -> None:
    orders = Orders()
    for number, state in enumerate(["waiting", "finished", "failed", "finished", None]):
        orders.put(ListRow(str(number), number, 10 - number, (state,)))
    wanted = Wanted(any_of={0: frozenset({"finished", "failed"})})
    for descending in (False, True):
        slices = orders.slices(wanted, None, descending=descending, by_change=False)
        found = [entry.ident for some in slices for entry in some]
        assert found == (["3", "2", "1"] if descending else ["1", "2", "3"])
    absent = orders.slices(Wanted(any_of={0: frozenset({None})}), None, descending=False, by_change=False)
    assert [entry.ident for some in absent for entry in some] == ["4"]
