"""The order of an account's records in memory, indexed by what lists are filtered by. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

Time = tuple[int, str]
Span = tuple[int, int]
ALL_TIME: Final[Span] = (0, 10**15)
SLICE: Final = 1000


class ListRow(NamedTuple):
    """What lists need of a record: its id, its times in ms, and the value of each facet."""

    ident: str
    created_ms: int
    changed_ms: int
    facets: tuple[str | None, ...]

    @property
    def by_creation(self) -> Time:
        """Its sort key by time of creation."""
        return self.created_ms, self.ident

    @property
    def by_change(self) -> Time:
        """Its sort key by time of change."""
        return self.changed_ms, self.ident


@dataclass(frozen=True, slots=True)
class Wanted:
    """A list's filters: values by the number of their facet, and spans of time in ms, ends included.

    `any_of` holds several values of a facet, of which an entry has one.
    """

    facets: Mapping[int, str] = field(default_factory=dict)
    any_of: Mapping[int, frozenset[str | None]] = field(default_factory=dict, kw_only=True)
    created: Span = ALL_TIME
    changed: Span = ALL_TIME

    def takes(self, entry: ListRow) -> bool:
        """Return whether an entry passes all filters."""
        return (
            self.created[0] <= entry.created_ms <= self.created[1]
            and self.changed[0] <= entry.changed_ms <= self.changed[1]
            and all(entry.facets[number] == value for number, value in self.facets.items())
            and all(entry.facets[number] in values for number, values in self.any_of.items())
        )


class Order:
    """Entries sorted by one of their times; unsorted only between `append` and `sort`."""

    def __init__(self, time_of: Callable[[ListRow], Time]) -> None:
        self._time_of = time_of
        self._entries: list[ListRow] = []

    def __len__(self) -> int:
        return len(self._entries)

    def append(self, entry: ListRow) -> None:
        """Append an entry; `sort` must follow."""
        self._entries.append(entry)

    def sort(self) -> None:
        """Sort the appended entries."""
        self._entries.sort(key=self._time_of)

    def add(self, entry: ListRow) -> None:
        """Insert an entry at its sorted position."""
        insort(self._entries, entry, key=self._time_of)

    def remove(self, entry: ListRow) -> None:
        """Remove an entry."""
        del self._entries[bisect_left(self._entries, self._time_of(entry), key=self._time_of)]

    def behind(self, after: Time | None, *, descending: bool) -> list[ListRow]:
        """Return the next SLICE entries after a time, or from the start (descending: before it, or from the end)."""
        if descending:
            end = bisect_left(self._entries, after, key=self._time_of) if after else len(self._entries)
            return self._entries[max(end - SLICE, 0) : end][::-1]
        start = bisect_right(self._entries, after, key=self._time_of) if after else 0
        return self._entries[start : start + SLICE]


class Orders:
    """All entries of one account by id, and their orders: of all, and of each value of each facet."""

    def __init__(self) -> None:
        self._entries: dict[str, ListRow] = {}
        self._orders: dict[tuple[int, str] | None, tuple[Order, Order]] = {}
        self._sorted = True

    def __contains__(self, ident: str) -> bool:
        return ident in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, entry: ListRow) -> None:
        """Add an entry, replacing the one with its id."""
        if self._entries.get(entry.ident) == entry:
            return
        self.drop(entry.ident)
        self._entries[entry.ident] = entry
        for order in self._of(entry) if self._sorted else ():
            order.add(entry)

    def drop(self, ident: str) -> None:
        """Remove an entry, if there is one of this id."""
        entry = self._entries.pop(ident, None)
        if entry is None:
            return
        for order in self._of(entry) if self._sorted else ():
            order.remove(entry)
        for number, value in enumerate(entry.facets):
            if value is not None and self._sorted and not len(self._orders[number, value][0]):
                del self._orders[number, value]

    def fill(self) -> None:
        """Start adding many entries; `sort_some` must follow."""
        self._sorted = False

    def sort_some(self) -> Iterator[None]:
        """Sort all entries, a piece of the work per step."""
        self._orders = {}
        for number, entry in enumerate(self._entries.values()):
            for order in self._of(entry):
                order.append(entry)
            if number % SLICE == 0:
                yield
        for pair in self._orders.values():
            for order in pair:
                order.sort()
                yield
        self._sorted = True

    def _of(self, entry: ListRow) -> Iterator[Order]:
        for key in (None, *((n, value) for n, value in enumerate(entry.facets) if value is not None)):
            if key not in self._orders:
                self._orders[key] = Order(lambda e: e.by_creation), Order(lambda e: e.by_change)
            yield from self._orders[key]

    def slices(
        self, wanted: Wanted, after: Time | None, *, descending: bool, by_change: bool
    ) -> Iterator[list[ListRow]]:
        """Yield the matching entries after a time, slice by slice; entries may change between two slices."""
        keys: list[tuple[int, str] | None] = [*wanted.facets.items(), None]
        if any(key not in self._orders for key in keys):
            return
        smallest = min(keys, key=lambda key: len(self._orders[key][0]))
        after, last = _bounds(wanted.changed if by_change else wanted.created, after, descending=descending)
        while smallest in self._orders:
            found = self._orders[smallest][by_change].behind(after, descending=descending)
            if not found:
                return
            after = found[-1].by_change if by_change else found[-1].by_creation
            yield [entry for entry in found if wanted.takes(entry)]
            if (after[0] < last) if descending else (after[0] > last):
                return


def _bounds(span: Span, after: Time | None, *, descending: bool) -> tuple[Time | None, int]:
    """Return where to start, so that nothing before the span is read, and the time at which to end."""
    if descending:
        first = (span[1] + 1, "")
        return (min(after, first) if after else first), span[0]
    first = (span[0], "")
    return (max(after, first) if after else first), span[1]
