"""Which connections may stay: the counts of the limits, kept over all threads."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Protocol


class Guest(Protocol):
    """A connection as admission sees it; `asking` from the moment when `authorize` decides about it."""

    address: str
    asking: bool

    def abort(self) -> None:
        """End the connection at once; from any thread."""
        ...


class Admission:
    """Counts connections. An address that floods makes room for others before they are turned away."""

    def __init__(self, *, connections: int, unpublished: int) -> None:
        self._connections = connections
        self._unpublished = unpublished
        self._lock = threading.Lock()
        self._waiting: dict[Guest, None] = {}  # not publishing yet, oldest first
        self._others: set[Guest] = set()  # publishing, or told to end

    def enter(self, guest: Guest) -> bool:
        """Let a connection in, or say that there is no room.

        When too many do not publish yet, the oldest of the address that has most of them is ended to make room,
        unless every address has just one.
        """
        with self._lock:
            if len(self._waiting) + len(self._others) >= self._connections:
                return False
            if len(self._waiting) >= self._unpublished and not self._evict():
                return False
            self._waiting[guest] = None
            return True

    def publish(self, guest: Guest) -> None:
        """Note that a connection publishes from now on."""
        with self._lock:
            self._waiting.pop(guest, None)
            self._others.add(guest)

    def leave(self, guest: Guest) -> None:
        """Forget a connection."""
        with self._lock:
            self._waiting.pop(guest, None)
            self._others.discard(guest)

    def everyone(self) -> list[Guest]:
        """Give all connections."""
        with self._lock:
            return [*self._waiting, *self._others]

    def _evict(self) -> bool:
        idle = [guest for guest in self._waiting if not guest.asking]
        busiest = Counter(guest.address for guest in idle).most_common(1)
        if not busiest or busiest[0][1] < 2:
            return False
        oldest = next(guest for guest in idle if guest.address == busiest[0][0])
        del self._waiting[oldest]
        self._others.add(oldest)
        oldest.abort()
        return True
