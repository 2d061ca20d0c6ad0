"""Who holds a run: the place record that its holder writes each second (ADR 13)."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final

from shared.clock import Clock
from shared.messages.restreams import PlaceRecord

SILENT: Final = timedelta(seconds=3)
SETTLING: Final = timedelta(seconds=7)
_NS: Final = 1000
_PIDS: Final = Path("/proc/self/ns/pid")


@dataclass(frozen=True, slots=True)
class Me:
    """The instance that asks."""

    instance: str
    host: str
    pid: int

    @classmethod
    def here(cls, instance: str) -> Me:
        """Name this process. Containers may share a host's name; pid_namespaces(7) tells them apart."""
        numbered = _PIDS.readlink().name if _PIDS.is_symlink() else ""
        return cls(instance, f"{socket.gethostname()} {numbered}".rstrip(), os.getpid())

    def owns(self, place: PlaceRecord) -> bool:
        """Tell whether this very process wrote it as its holder."""
        return (place.holder, place.host, place.pid) == (self.instance, self.host, self.pid)


@dataclass(slots=True)
class Sights:
    """What was seen of places, and when, by this machine's clock that never goes back."""

    me: Me
    clock: Clock
    _seen: dict[str, tuple[PlaceRecord, int]] = field(default_factory=dict)
    _away: bool = False
    _silence_counts_from_ns: int = 0

    def seen(self, key: str, place: PlaceRecord | None) -> None:
        """Take note of a place as it is."""
        if place is None:
            self._seen.pop(key, None)
        elif (known := self._seen.get(key)) is None or known[0] != place:
            self._seen[key] = (place, self.clock.monotonic_ns())

    def answering(self, *, well: bool) -> None:
        """Take note of the broker. After it was away, its other clients get some time to come back."""
        if well and self._away:
            self._silence_counts_from_ns = self.clock.monotonic_ns() + SETTLING // timedelta(microseconds=1) * _NS
        self._away = not well

    def free(self, key: str) -> bool:
        """Tell whether a run may be taken: nobody holds it, its holder is gone, or has been silent for long."""
        known = self._seen.get(key)
        if known is None or not known[0].holder:
            return True
        place, since_ns = known
        if self._away:
            return False
        if is_gone(place, self.me):
            return True
        silent_ns = self.clock.monotonic_ns() - max(since_ns, self._silence_counts_from_ns)
        return silent_ns >= SILENT // timedelta(microseconds=1) * _NS


def is_gone(place: PlaceRecord, me: Me) -> bool:
    """Tell a holder that was killed on this host: its process is no more, or it had this one's name and number.

    Ask only about a place that this process does not hold.
    """
    if place.host != me.host or not place.pid:
        return False
    if place.pid == me.pid:
        return place.holder == me.instance
    try:
        os.kill(place.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # another user's: it lives
    return False
