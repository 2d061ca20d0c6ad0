"""What a target that joins late starts with: all since the last keyframe, bounded per backlog and per process."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Final, Generic, TypeVar

OWN_BYTES: Final = 8 << 20
"""The bytes that each backlog may keep, whatever others do."""
BACKLOG_BYTES: Final = 60 << 20
"""The most bytes that one backlog keeps: a minute at 8 Mbps."""
SHARED_BYTES: Final = 512 << 20
"""The bytes that all backlogs of a process keep beyond OWN_BYTES each."""

Kept = TypeVar("Kept")


class Pool:
    """A shared budget of bytes. Thread-safe: each restream has its pacer."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._lock = Lock()

    @property
    def left(self) -> int:
        """Return how many bytes are free."""
        return self._left

    def take(self, size: int) -> bool:
        """Take bytes; return whether there were enough."""
        with self._lock:
            if size > self._left:
                return False
            self._left -= size
            return True

    def give(self, size: int) -> None:
        """Free bytes that were taken."""
        with self._lock:
            self._left += size


SHARED: Final = Pool(SHARED_BYTES)


@dataclass(slots=True)
class _Loan:
    """The bytes that a backlog has taken from the pool; returned also when the backlog is garbage-collected."""

    pool: Pool
    size: int = 0

    def grow(self, wanted: int) -> bool:
        if wanted > self.size:
            if not self.pool.take(wanted - self.size):
                return False
            self.size = wanted
        return True

    def end(self) -> None:
        self.pool.give(self.size)
        self.size = 0


@dataclass(slots=True, weakref_slot=True)
class Backlog(Generic[Kept]):
    """All things since `begin` in order, or none: a backlog that grows too large stays empty until the next `begin`."""

    pool: Pool = field(default_factory=lambda: SHARED)
    kept: list[Kept] = field(default_factory=list)
    whole: bool = False
    _bytes: int = 0
    _loan: _Loan = field(init=False)

    def __post_init__(self) -> None:
        self._loan = _Loan(self.pool)
        weakref.finalize(self, self._loan.end)

    def begin(self) -> None:
        """Clear the backlog and start keeping what is added."""
        self.forget()
        self.whole = True

    def add(self, thing: Kept, size: int) -> None:
        """Keep one more, if all before it was kept."""
        if self._takes(size):
            self.kept.append(thing)

    def extend(self, things: Sequence[Kept], size: int) -> None:
        """Keep more, `size` bytes together, if all before them was kept."""
        if self._takes(size):
            self.kept.extend(things)

    def _takes(self, size: int) -> bool:
        """Return whether `size` more bytes are kept; clear the backlog where they are too many."""
        if not self.whole:
            return False
        size = self._bytes = self._bytes + size
        if size <= OWN_BYTES or (size <= BACKLOG_BYTES and self._loan.grow(size - OWN_BYTES)):
            return True
        self.forget()
        return False

    def forget(self) -> None:
        """Keep nothing until the next `begin`."""
        self.kept, self._bytes, self.whole = [], 0, False
        self._loan.end()
