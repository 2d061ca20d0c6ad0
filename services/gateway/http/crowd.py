"""All connections of the server: who may stay when there are too many."""

from __future__ import annotations

from typing import Protocol

from services.gateway.http.framing import HttpLimits
from shared.logging import get_logger
from shared.peers import Waiting, network_of

log = get_logger()


class Member(Protocol):
    """A connection as the crowd sees it."""

    def __hash__(self) -> int:
        """Be itself."""
        ...

    def abort(self) -> None:
        """End it at once."""
        ...


class Crowd:
    """Counts connections. Who is being answered stays; of those that owe us a request the oldest goes first."""

    def __init__(self, limits: HttpLimits) -> None:
        self._most = limits.connections
        self._waiting: Waiting[Member] = Waiting(limits.waiting, limits.waiting_each)
        self._networks: dict[Member, str] = {}
        self.ended = 0
        """How many had to go."""

    def __len__(self) -> int:
        return len(self._networks)

    def enter(self, member: Member, address: str) -> bool:
        """Let a connection wait for its request; False when there is no room, and nobody who could make it."""
        if len(self._networks) >= self._most and not self._end(self._waiting.make_room()):
            return False
        self._networks[member] = network_of(address)
        self.wait(member)
        return True

    def wait(self, member: Member) -> None:
        """Take note that the next step is the peer's."""
        if member in self._networks:
            self._end(self._waiting.add(member, self._networks[member]))

    def busy(self, member: Member) -> None:
        """Take note that the next step is ours."""
        self._waiting.remove(member)

    def leave(self, member: Member) -> None:
        """Forget a connection."""
        self._waiting.remove(member)
        self._networks.pop(member, None)

    def _end(self, member: Member | None) -> bool:
        if member is None:
            return False
        self.ended += 1
        if self.ended & (self.ended - 1) == 0:  # a flood fills no log
            log.warning("http.connections.ended", ended=self.ended, connections=len(self._networks))
        self._networks.pop(member, None)
        member.abort()
        return True
