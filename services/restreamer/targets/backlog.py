"""What a target that comes late begins with: all since the last keyframe, bounded for each and for the process."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Final, Generic, TypeVar

OWN_BYTES: Final = 8 << 20
"""What each backlog may keep, whatever others do."""
BACKLOG_BYTES: Final = 60 << 20
"""A minute at 8 Mbps: the most that one keeps."""
SHARED_BYTES: Final = 512 << 20
"""What all backlogs of a process keep beyond their own."""

Kept = TypeVar("Kept")


class Pool:
    """Bytes that many share. Thread-safe: each restream has its pacer."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._lock = Lock()

    @property
    def left(self) -> int:
        """Tell how many bytes nobody has taken."""
        return self._left

    def take(self, size: int) -> bool:
        """Take bytes; tell whether there were as many."""
        with self._lock:
            if size > self._left:
                return False
            self._left -= size
            return True

    def give(self, size: int) -> None:
        """Give back what was taken."""
        with self._lock:
            self._left += size


SHARED: Final = Pool(SHARED_BYTES)


@dataclass(slots=True)
class _Loan:
    """What a backlog has of the pool; given back when nobody has the backlog any more, too."""

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
    """Things in order since `begin`, all of them or none: what grows too large is forgotten up to the next `begin`."""

    pool: Pool = field(default_factory=lambda: SHARED)
    kept: list[Kept] = field(default_factory=list)
    whole: bool = False
    _bytes: int = 0
    _loan: _Loan = field(init=False)

    def __post_init__(self) -> None:
        self._loan = _Loan(self.pool)
        weakref.finalize(self, self._loan.end)

    def begin(self) -> None:
        """Forget what there is, and keep what comes."""
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
        """Tell whether as many bytes more are kept; forget all where they are too many."""
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
