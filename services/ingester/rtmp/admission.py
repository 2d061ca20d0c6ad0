"""Which connections may stay: the counts of the limits, kept over all threads."""

from __future__ import annotations

import threading
from typing import Protocol

from shared.security.peers import Waiting, network_of


class Guest(Protocol):
    """A connection as admission sees it."""

    address: str

    def __hash__(self) -> int:
        """Be itself."""
        ...

    def abort(self) -> None:
        """End the connection at once; from any thread."""
        ...


class Admission:
    """Counts connections. Nobody who may publish is turned away for peers that do not publish.

    A guest waits until `authorize` is asked about it, and again when it was refused. While too many wait, the oldest of
    the network that has most of them is ended: that of a flood, or, when each has one, of all.
    """

    def __init__(self, *, connections: int, unpublished: int, unpublished_each: int) -> None:
        self._connections = connections
        self._lock = threading.Lock()
        self._waiting: Waiting[Guest] = Waiting(unpublished, unpublished_each)
        self._staying: set[Guest] = set()  # being decided about, or publishing
        self._leaving: set[Guest] = set()  # told to end

    def enter(self, guest: Guest) -> bool:
        """Let a connection in, or say that there is no room: all publish, or those that were ended are not gone yet."""
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
        """Note that `authorize` decides about a connection, which is not ended from now on; False when it was."""
        with self._lock:
            if guest not in self._waiting:
                return False
            self._waiting.remove(guest)
            self._staying.add(guest)
            return True

    def refuse(self, guest: Guest) -> None:
        """Note that a connection may not publish; it is here to read why."""
        with self._lock:
            if guest in self._staying:
                self._staying.discard(guest)
                self._end(self._waiting.add(guest, network_of(guest.address)))

    def leave(self, guest: Guest) -> None:
        """Forget a connection."""
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
