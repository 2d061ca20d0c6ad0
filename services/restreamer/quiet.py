"""When something is told again: a target that breaks again and again, a file that fails in each loop. Pure."""

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
    """Return how long nothing is told after the `times`-th repetition: 30 s, doubling to an hour; 0 after none."""
    if not times:
        return 0
    return _ns(min(FIRST_QUIET * (1 << min(times - 1, 16)), LONGEST_QUIET))


def _ns(duration: timedelta) -> int:
    return duration // timedelta(microseconds=1) * 1000


@dataclass(slots=True)
class TargetNews:
    """Which of a target's states are told.

    On the way to a connection only the first is: a target that waits, or has failed, stays so until media is sent. What
    is sent to one that reads nothing looks well for a while. So the first break and the recovery from it are told at
    once, and from the second on a recovery only when it has lasted, for 30 s, then twice as long each time. Ten minutes
    are always enough, and end that.
    """

    told: TargetState | None = None
    _breaks: int = 0
    _told_ns: int = 0
    _live_ns: int | None = None

    def is_news(self, state: TargetState, now_ns: int) -> bool:
        """Take in a state, and tell whether it is to be told."""
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
        """Tell whether a recovery, if it is one, has lasted for long enough."""
        return self._live_ns is None or now_ns - self._live_ns >= min(quiet_ns(max(self._breaks - 1, 0)), _ns(STEADY))


@dataclass(slots=True)
class Repeats:
    """Which of many equal faults are told: the first, then one after each of growing silences."""

    _known: LRUCache[Hashable, tuple[int, int]] = field(default_factory=lambda: LRUCache(MOST_KNOWN))

    def is_news(self, what: Hashable, now_ns: int) -> bool:
        """Take in a fault, and tell whether it is to be told."""
        times, until_ns = self._known.get(what, (0, 0))
        told = not times or now_ns >= until_ns
        self._known[what] = (times + 1, now_ns + quiet_ns(times + 1)) if told else (times, until_ns)
        return told
