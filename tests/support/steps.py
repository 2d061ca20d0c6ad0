"""Counts the steps that work takes, where a clock would measure the machine."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def lines_of(work: Callable[[], object]) -> int:
    """Return how many lines of Python some work runs; its errors are passed on."""
    count = 0

    def trace(_: FrameType, event: str, __: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


class Visited(str):
    """A text that counts the characters read or copied, in it and in all slices of it."""

    __slots__ = ("seen",)
    seen: list[int]

    @classmethod
    def of(cls, text: str, seen: list[int] | None = None) -> Visited:
        """Return a counting text; `seen` has the count."""
        made = cls(text)
        made.seen = [0] if seen is None else seen
        return made

    def _part(self, text: str, visited: int) -> Visited:
        self.seen[0] += visited
        return Visited.of(text, self.seen)

    def removeprefix(self, prefix: str, /) -> Visited:
        return self._part(super().removeprefix(prefix), len(self))

    def strip(self, chars: str | None = None, /) -> Visited:
        return self._part(super().strip(chars), len(self))

    def lower(self) -> Visited:
        return self._part(super().lower(), len(self))

    def partition(self, sep: str, /) -> tuple[str, str, str]:
        head, found, tail = super().partition(sep)
        self.seen[0] += len(self)
        return Visited.of(head, self.seen), found, Visited.of(tail, self.seen)

    def find(self, sub: str, start: Any = 0, end: Any = None, /) -> int:
        found = super().find(sub, start, end)
        self.seen[0] += (len(self) if found < 0 else found) - int(start) + 1
        return found

    def __getitem__(self, key: Any, /) -> Visited:
        text = super().__getitem__(key)
        return self._part(text, len(text))
