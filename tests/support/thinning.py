"""Which cases of a matrix `make test` runs: of the slow layers' a few, of the others' all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import pytest

SLOW = ("integration", "e2e")
KEPT = 3


def chosen(count: int, kept: int = KEPT) -> set[int]:
    """Return the positions to keep of so many cases: the first, the last, and evenly between."""
    return {position * (count - 1) // (kept - 1) for position in range(kept)} if count > kept else set(range(count))


def left_out(items: Iterable[pytest.Item]) -> set[str]:
    """Return the ids of the slow layers' cases beyond those kept; long runs (soak) count for none."""
    matrices: dict[str, list[str]] = {}
    for item in items:
        if _is_slow(item.nodeid) and item.get_closest_marker("soak") is None:
            matrices.setdefault(item.nodeid.partition("[")[0], []).append(item.nodeid)
    return {nodeid for cases in matrices.values() for nodeid in _beyond(cases)}


def _is_slow(nodeid: str) -> bool:
    return nodeid.split("/")[1] in SLOW if nodeid.count("/") else False


def _beyond(cases: Sequence[str]) -> Iterator[str]:
    kept = chosen(len(cases))
    return (case for number, case in enumerate(cases) if number not in kept)
