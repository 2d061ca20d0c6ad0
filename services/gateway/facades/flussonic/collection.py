"""Pages of a collection as the streamer API gives them: filters, order, cursors, chosen fields. Pure."""

from __future__ import annotations

import base64
import binascii
import functools
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from services.gateway.domain.errors import invalid

Item = dict[str, Any]
MOST: Final = 1000
USUAL: Final = 100
_OWN: Final = frozenset({"limit", "cursor", "sort", "select", "q", "token", "format"})
_ORDERED: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "_gte": lambda one, other: bool(one >= other),
    "_lte": lambda one, other: bool(one <= other),
    "_gt": lambda one, other: bool(one > other),
    "_lt": lambda one, other: bool(one < other),
}
_SUFFIXES: Final = ("_gte", "_lte", "_gt", "_lt", "_like", "_is")
_NOTHING: Final = object()


def value_of(item: Item, path: str) -> Any:
    """Return a field by its dotted path; None when it is not there."""
    found: Any = item
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


@dataclass(frozen=True, slots=True)
class Filter:
    """`field=v`, `field_gt`, `_gte`, `_lt`, `_lte`, `_like`, or `_is=null`."""

    path: str
    kind: str
    wanted: str

    def takes(self, item: Item) -> bool:
        """Return whether an item passes."""
        value = value_of(item, self.path)
        if self.kind == "_is":
            return (value is None) == (self.wanted == "null")
        if value is None:
            return False
        if self.kind == "_like":
            return self.wanted.strip("%").lower() in _text(value).lower()
        if self.kind in _ORDERED:
            return _compares(self.kind, value, self.wanted)
        return _text(value) in self.wanted.split(",")


def _compares(kind: str, value: Any, wanted: str) -> bool:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return _ORDERED[kind](value, float(wanted))
        except ValueError as error:
            raise invalid(kind, f"{wanted[:40]} is no number") from error
    return _ORDERED[kind](_text(value), wanted)


@dataclass(frozen=True, slots=True)
class Query:
    """What a request asks of a collection."""

    limit: int = USUAL
    cursor: tuple[str, list[Any]] | None = None
    sort: tuple[tuple[str, bool], ...] = (("name", False),)
    select: tuple[str, ...] = ()
    words: str = ""
    filters: tuple[Filter, ...] = field(default=())

    @property
    def needs(self) -> set[str]:
        """The fields that filters and order look at; `q` looks at name and title."""
        found = {f.path for f in self.filters} | {path for path, _ in self.sort}
        return found | ({"title"} if self.words else set())


def asked(pairs: Iterable[tuple[str, str]], key: str = "name") -> Query:
    """Read a query string's pairs; Invalid names the parameter that is wrong. `key` identifies items."""
    given = list(pairs)
    known = {name: ",".join(value for other, value in given if other == name) for name, _ in given if name in _OWN}
    filters = tuple(_filter(name, value) for name, value in given if name not in _OWN)
    limit = known.get("limit", str(USUAL))
    if not limit.isascii() or not limit.isdecimal() or len(limit) > len(str(MOST)) or not 1 <= int(limit) <= MOST:
        raise invalid("limit", f"must be a whole number from 1 to {MOST}")
    sort = tuple(
        (part.lstrip("-+ "), part.startswith("-")) for part in known.get("sort", "").split(",") if part.strip()
    )
    if all(path != key for path, _ in sort):
        sort = (*sort, (key, False))  # so that the order is one
    select = tuple(part.strip() for part in known.get("select", "").split(",") if part.strip())
    return Query(int(limit), _cursor(known.get("cursor", "")), sort, select, known.get("q", ""), filters)


def _filter(name: str, value: str) -> Filter:
    kind = next((suffix for suffix in _SUFFIXES if name.endswith(suffix)), "")
    return Filter(name.removesuffix(kind) if kind else name, kind, value)


def _cursor(text: str) -> tuple[str, list[Any]] | None:
    if not text:
        return None
    try:
        way, values = json.loads(base64.urlsafe_b64decode(text.encode() + b"=" * (-len(text) % 4)))
    except (ValueError, TypeError, binascii.Error, RecursionError) as error:
        raise invalid("cursor", "is not one that a list has given") from error
    if way not in {"next", "prev"} or not isinstance(values, list):
        raise invalid("cursor", "is not one that a list has given")
    return way, values


def _written(way: str, values: Sequence[Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps([way, list(values)]).encode()).decode().rstrip("=")


def _rank(value: Any) -> tuple[int, Any]:
    """Order anything: null, then numbers, then text."""
    if value is None:
        return 0, 0
    return (1, value) if isinstance(value, int | float) else (2, _text(value))


def _comparing(query: Query) -> Callable[[Sequence[Any], Sequence[Any]], int]:
    def compare(one: Sequence[Any], other: Sequence[Any]) -> int:
        for (_, falling), a, b in zip(query.sort, one, other, strict=False):
            left, right = _rank(a), _rank(b)
            if left != right:
                return (-1 if left < right else 1) * (-1 if falling else 1)
        return 0

    return compare


def page(items: Iterable[Item], query: Query, plural: str) -> dict[str, Any]:
    """Return a page: the items that pass, how many they are, and cursors of the pages around it."""
    shown, total, around = chosen(items, query)
    return {
        plural: [selected(item, query) for item in shown], "estimated_count": total, **around, "timing": {},
    }  # fmt: skip


def chosen(items: Iterable[Item], query: Query) -> tuple[list[Item], int, dict[str, str]]:
    """Return a page's items, the number of all that pass, and the cursors `next` and `prev`, where there are such."""
    found = [item for item in items if all(f.takes(item) for f in query.filters) and _says(item, query.words)]
    compare = _comparing(query)
    keyed: list[tuple[list[Any], Item]] = [([value_of(item, path) for path, _ in query.sort], item) for item in found]
    order = functools.cmp_to_key(compare)
    keyed.sort(key=lambda one: order(one[0]))
    start, end = 0, query.limit
    if query.cursor is not None:
        way, values = query.cursor
        if way == "next":
            start = sum(1 for key, _ in keyed if compare(key, values) <= 0)
            end = start + query.limit
        else:
            end = sum(1 for key, _ in keyed if compare(key, values) < 0)
            start = max(end - query.limit, 0)
    shown = keyed[start:end]
    around: dict[str, str] = {}
    if shown and end < len(keyed):
        around["next"] = _written("next", shown[-1][0])
    if shown and start > 0:
        around["prev"] = _written("prev", shown[0][0])
    return [item for _, item in shown], len(found), around


def _says(item: Item, words: str) -> bool:
    text = f"{value_of(item, 'name')} {value_of(item, 'title')}".lower()
    return all(word in text for word in words.lower().split())


def selected(item: Item, query: Query) -> Item:
    """Return the fields that were asked for, the name always."""
    if not query.select:
        return item
    made: Item = {"name": item["name"]} if "name" in item else {}
    for path in query.select:
        value = _lookup(item, path)
        if value is not _NOTHING:
            _put(made, path.split("."), value)
    return made


def _lookup(item: Item, path: str) -> Any:
    found: Any = item
    for name in path.split("."):
        if not isinstance(found, dict) or name not in found:
            return _NOTHING
        found = found[name]
    return found


def _put(made: Item, path: list[str], value: Any) -> None:
    for name in path[:-1]:
        inner = made.get(name)
        made[name] = inner = dict(inner) if isinstance(inner, dict) else {}
        made = inner
    made[path[-1]] = value
