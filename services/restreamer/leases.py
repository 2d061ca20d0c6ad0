"""Tells who holds a run, from the playout record that its holder writes each second (ADR 13, 17)."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from shared.messages.restreams import PlayoutRecord
from shared.runtime import lease
from shared.runtime.clock import Clock, to_ns
from shared.runtime.lease import Holder

SILENT: Final = timedelta(seconds=3)
SETTLING: Final = timedelta(seconds=7)


@dataclass(frozen=True, slots=True)
class Me:
    """The instance that asks."""

    instance: str
    host: str
    pid: int
    started: int = 0
    token: str = ""

    @classmethod
    def here(cls, instance: str) -> Me:
        """Identify this process. Hosts and containers may share a name; boot and pid_namespaces(7) distinguish them."""
        found = Holder.here(instance, socket.gethostname())
        return cls(instance, f"{found.host} {found.machine}".rstrip(), found.pid, found.started, found.token)

    def owns(self, playout: PlayoutRecord) -> bool:
        """Return whether this very process wrote a playout record as its holder."""
        own = (self.instance, self.host, self.pid, self.token)
        return (playout.holder, playout.host, playout.pid, playout.token) == own


@dataclass(slots=True)
class Sights:
    """The playout records seen, and when, by this machine's monotonic clock."""

    me: Me
    clock: Clock
    _seen: dict[str, tuple[PlayoutRecord, int]] = field(default_factory=dict)
    _away: bool = False
    _silence_counts_from_ns: int = 0

    def seen(self, key: str, playout: PlayoutRecord | None) -> None:
        """Record the current playout record."""
        if playout is None:
            self._seen.pop(key, None)
        elif (known := self._seen.get(key)) is None or known[0] != playout:
            self._seen[key] = (playout, self.clock.monotonic_ns())

    def answering(self, *, well: bool) -> None:
        """Record whether the broker answers. After it was away, its other clients get some time to come back."""
        if well and self._away:
            self._silence_counts_from_ns = self.clock.monotonic_ns() + to_ns(SETTLING)
        self._away = not well

    def free(self, key: str) -> bool:
        """Return whether a run may be taken: nobody holds it, or its holder is gone or silent for too long."""
        known = self._seen.get(key)
        if known is None or not known[0].holder:
            return True
        playout, since_ns = known
        if self._away:
            return False
        if is_gone(playout, self.me):
            return True
        silent_ns = self.clock.monotonic_ns() - max(since_ns, self._silence_counts_from_ns)
        return silent_ns >= to_ns(SILENT)


def is_gone(playout: PlayoutRecord, me: Me) -> bool:
    """Return whether a holder is surely gone. Valid only for a playout record that this process does not hold."""
    holder = Holder(instance=playout.holder, machine=playout.host, pid=playout.pid, started=playout.started)
    return lease.is_gone(holder, Holder(instance=me.instance, machine=me.host, pid=me.pid, started=me.started))
