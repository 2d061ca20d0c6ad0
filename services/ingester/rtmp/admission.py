"""Which connections may stay: counts them across all threads, and enforces the limits."""

from __future__ import annotations

import threading
from typing import Protocol

from shared.security.peers import Waiting, network_of


class Guest(Protocol):
    """A connection as admission sees it."""

    address: str

    def __hash__(self) -> int:
        """Return a hash of the connection's identity."""
        ...

    def abort(self) -> None:
        """Close the connection at once; from any thread."""
        ...


class Admission:
    """Counts connections. No publisher is turned away because of peers that do not publish.

    A guest waits until `authorize` is asked about it, and again after it was refused. While too many wait, the oldest
    guest of the network with the most guests is closed; when each network has one, the oldest of all.
    """

    def __init__(self, *, connections: int, unpublished: int, unpublished_each: int) -> None:
        self._connections = connections
        self._lock = threading.Lock()
        self._waiting: Waiting[Guest] = Waiting(unpublished, unpublished_each)
        self._staying: set[Guest] = set()  # in authorization, or publishing
        self._leaving: set[Guest] = set()  # aborted, not gone yet

    def enter(self, guest: Guest) -> bool:
        """Let a connection in; return False when there is no room: all publish, or aborted ones are not gone yet."""
        with self._lock:
            if len(self._leaving) >= self._connections:
                return False
            if len(self._waiting) + len(self._staying) >= self._connections and not self._end(
                self._waiting.make_room()
            ):
                return False
            self._end(self._waiting.add(guest, network_of(guest.address)))
            return True

    def ask(self, guest: Guest) -> bool:
        """Record that `authorize` decides about a connection, which then stays; False when it was already aborted."""
        with self._lock:
            if guest not in self._waiting:
                return False
            self._waiting.remove(guest)
            self._staying.add(guest)
            return True

    def refuse(self, guest: Guest) -> None:
        """Record that a connection may not publish; it stays only to read the reason."""
        with self._lock:
            if guest in self._staying:
                self._staying.discard(guest)
                self._end(self._waiting.add(guest, network_of(guest.address)))

    def leave(self, guest: Guest) -> None:
        """Remove a connection."""
        with self._lock:
            self._waiting.remove(guest)
            self._staying.discard(guest)
            self._leaving.discard(guest)

    def everyone(self) -> list[Guest]:
        """Return all connections."""
        with self._lock:
            return [*self._waiting.everyone(), *self._staying, *self._leaving]

    def _end(self, guest: Guest | None) -> bool:
        if guest is None:
            return False
        self._leaving.add(guest)
        guest.abort()
        return True
