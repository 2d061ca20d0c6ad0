"""All connections of the server, and which are closed when there are too many."""

from __future__ import annotations

from typing import Protocol

from services.gateway.http.framing import HttpLimits
from shared.runtime.logging import get_logger
from shared.security.peers import Waiting, network_of

log = get_logger()


class Member(Protocol):
    """A connection as the crowd sees it."""

    def __hash__(self) -> int:
        """Return a hash by identity."""
        ...

    def abort(self) -> None:
        """Close the connection at once."""
        ...


class Crowd:
    """Counts connections. One being answered stays; of those that wait for a request the oldest is closed first.

    One that does not read its answer stays too, unless there is no room at all: then the busiest network loses a
    connection, either one that waits or one that does not read.
    """

    def __init__(self, limits: HttpLimits) -> None:
        self._most = limits.connections
        self._waiting: Waiting[Member] = Waiting(limits.waiting, limits.waiting_each)
        self._stalled: Waiting[Member] = Waiting(limits.connections, limits.connections)
        self._networks: dict[Member, str] = {}
        self.ended = 0
        """How many connections were closed to make room."""

    def __len__(self) -> int:
        return len(self._networks)

    def enter(self, member: Member, address: str) -> bool:
        """Add a connection that waits for its request; return False when there is no room and none can be made."""
        if len(self._networks) >= self._most:
            busiest = max(self._waiting, self._stalled, key=lambda peers: peers.busiest)
            if not self._end(busiest.make_room()):
                return False
        self._networks[member] = network_of(address)
        self.wait(member)
        return True

    def wait(self, member: Member) -> None:
        """Record that the next step is the peer's."""
        if member in self._networks:
            self._end(self._waiting.add(member, self._networks[member]))

    def busy(self, member: Member) -> None:
        """Record that the next step is the server's."""
        self._waiting.remove(member)

    def stall(self, member: Member) -> None:
        """Record that the peer does not read its answer."""
        if member in self._networks and member not in self._waiting:
            self._stalled.add(member, self._networks[member])

    def flow(self, member: Member) -> None:
        """Record that the peer reads again."""
        self._stalled.remove(member)

    def leave(self, member: Member) -> None:
        """Forget a connection."""
        self._stalled.remove(member)
        self._waiting.remove(member)
        self._networks.pop(member, None)

    def _end(self, member: Member | None) -> bool:
        if member is None:
            return False
        self.ended += 1
        if self.ended & (self.ended - 1) == 0:  # so that a flood does not fill the log
            log.warning("http.connections.ended", ended=self.ended, connections=len(self._networks))
        self.leave(member)
        member.abort()
        return True
