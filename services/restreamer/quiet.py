"""Decides when a repeated fault is reported again: a target that breaks often, a file that fails in each loop. Pure."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from cachetools import LRUCache

from shared.messages.restreams import TargetState

FIRST_QUIET: Final = timedelta(seconds=30)
LONGEST_QUIET: Final = timedelta(hours=1)
STEADY: Final = timedelta(minutes=10)
MOST_KNOWN: Final = 2000
_BROKEN: Final[frozenset[TargetState]] = frozenset({"waiting", "failed"})
_ON_THE_WAY: Final[frozenset[TargetState]] = frozenset({"connecting", "ready"})


def quiet_ns(times: int) -> int:
    """Return how long nothing is reported after the `times`-th repetition: 30 s, doubling to an hour; 0 after none."""
    if not times:
        return 0
    return _ns(min(FIRST_QUIET * (1 << min(times - 1, 16)), LONGEST_QUIET))


def _ns(duration: timedelta) -> int:
    return duration // timedelta(microseconds=1) * 1000


@dataclass(slots=True)
class TargetNews:
    """Decides which of a target's states are reported.

    On the way to a connection only the first is: a target that waits, or has failed, stays so until media is sent.
    Sending to one that reads nothing works for a while. So the first break and the recovery from it are reported
    at once; a later recovery only after it has lasted 30 s, then twice as long each time. One that has lasted ten
    minutes is always reported, and resets this.
    """

    told: TargetState | None = None
    _breaks: int = 0
    _told_ns: int = 0
    _live_ns: int | None = None

    def is_news(self, state: TargetState, now_ns: int) -> bool:
        """Record a state; return whether to report it."""
        known = self.told
        if state != "live":
            self._live_ns = None
        elif self._live_ns is None:
            self._live_ns = now_ns
        still_broken = known == "failed" and state == "waiting"
        if state == known or still_broken or (state in _ON_THE_WAY and known is not None) or not self._lasts(now_ns):
            return False
        if state in _BROKEN and known == "live":
            self._breaks = 1 if now_ns - self._told_ns >= _ns(STEADY) else self._breaks + 1
        self.told, self._told_ns = state, now_ns
        return True

    def _lasts(self, now_ns: int) -> bool:
        """Return whether a recovery, if it is one, has lasted for long enough."""
        return self._live_ns is None or now_ns - self._live_ns >= min(quiet_ns(max(self._breaks - 1, 0)), _ns(STEADY))


@dataclass(slots=True)
class Repeats:
    """Decides which of many equal faults are reported: the first, then one after each of growing pauses."""

    _known: LRUCache[Hashable, tuple[int, int]] = field(default_factory=lambda: LRUCache(MOST_KNOWN))

    def is_news(self, what: Hashable, now_ns: int) -> bool:
        """Record a fault; return whether to report it."""
        times, until_ns = self._known.get(what, (0, 0))
        told = not times or now_ns >= until_ns
        self._known[what] = (times + 1, now_ns + quiet_ns(times + 1)) if told else (times, until_ns)
        return told
