"""The order of lists in memory: what a page holds is what sorting and filtering everything would give."""

from itertools import chain
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from services.gateway.domain.lists.orders import SLICE, ListRow, Orders, Wanted

TIMES = st.integers(0, 20)
ENTRIES = st.lists(
    st.builds(
        ListRow,
        ident=st.sampled_from("abcdefgh"),
        created_ms=TIMES,
        changed_ms=TIMES,
        facets=st.tuples(st.sampled_from("xy"), st.sampled_from(["1", None])),
    ),
    max_size=30,
)
SPANS = st.tuples(TIMES, TIMES)


class Query(NamedTuple):
    """What a list is asked for."""

    wanted: Wanted
    after: tuple[int, str] | None
    descending: bool
    by_change: bool


def listed(orders: Orders, query: Query) -> list[str]:
    slices = orders.slices(query.wanted, query.after, descending=query.descending, by_change=query.by_change)
    return [entry.ident for entry in chain.from_iterable(slices)]


FACETS = st.dictionaries(st.integers(0, 1), st.sampled_from(["x", "1", "other"]), max_size=2)
QUERIES = st.builds(
    Query,
    wanted=st.builds(Wanted, facets=FACETS, created=SPANS, changed=SPANS),
    after=st.one_of(st.none(), st.tuples(TIMES, st.sampled_from("abcdefgh"))),
    descending=st.booleans(),
    by_change=st.booleans(),
)


@given(before=ENTRIES, changes=ENTRIES, gone=st.sets(st.sampled_from("abcdefgh")), query=QUERIES)
def test_a_list_is_as_if_all_had_been_sorted_and_filtered(
    before: list[ListRow], changes: list[ListRow], gone: set[str], query: Query
) -> None:
    orders = Orders()
    orders.fill()
    for entry in before:
        orders.put(entry)
    for _ in orders.sort_some():
        pass
    for entry in changes:
        orders.put(entry)
    for ident in gone:
        orders.drop(ident)
    there = {e.ident: e for e in (*before, *changes) if e.ident not in gone}

    def time(entry: ListRow) -> tuple[int, str]:
        return entry.by_change if query.by_change else entry.by_creation

    expected = sorted(filter(query.wanted.takes, there.values()), key=time, reverse=query.descending)
    if query.after is not None:
        expected = [e for e in expected if (time(e) < query.after if query.descending else time(e) > query.after)]
    assert listed(orders, query) == [e.ident for e in expected]
    assert len(orders) == len(there)


def test_a_page_looks_at_few_of_many_and_a_filter_s_own_order_spares_the_rest() -> None:
    orders = Orders()
    for number in range(5 * SLICE):
        rare = "rare" if number % SLICE == 0 else None
        orders.put(ListRow(f"{number:06}", number, number, ("all", rare)))
    pages = orders.slices(Wanted({0: "all"}), None, descending=True, by_change=False)
    assert [e.ident for e in next(pages)][:2] == ["004999", "004998"]
    steps = list(orders.slices(Wanted({0: "all", 1: "rare"}), None, descending=False, by_change=False))
    assert [[e.ident for e in some] for some in steps] == [["000000", "001000", "002000", "003000", "004000"]]
    late = list(orders.slices(Wanted(created=(4990, 4991)), None, descending=False, by_change=False))
    assert [[e.ident for e in some] for some in late] == [["004990", "004991"]]


def test_entries_may_come_and_go_between_two_slices() -> None:
    orders = Orders()
    for number in range(2 * SLICE):
        orders.put(ListRow(f"{number:06}", number, number, ()))
    slices = orders.slices(Wanted(), None, descending=False, by_change=False)
    first = next(slices)
    orders.drop(first[0].ident)
    orders.put(ListRow("between", first[-1].created_ms, 0, ()))
    assert [e.ident for e in chain.from_iterable(slices)][:2] == ["between", f"{SLICE:06}"]
