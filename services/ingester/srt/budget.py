"""How often a host may be refused before it is not even asked who it is."""

from __future__ import annotations

from collections import OrderedDict
from datetime import timedelta
from typing import Final

from shared.clock import Clock

_MOST_HOSTS: Final = 1024


class RefusalBudget:
    """A token bucket per host: each refusal takes one, time gives them back; guessing passphrases gets slow.

    The table is bounded: the host unseen for longest is forgotten first.
    """

    def __init__(self, most: int, regained: timedelta, clock: Clock) -> None:
        self._most = most
        self._regain_ns = max(1, regained // timedelta(microseconds=1) * 1000)
        self._clock = clock
        self._spent: OrderedDict[str, tuple[int, int]] = OrderedDict()  # host -> (refusals, since in ns)

    def spent(self, host: str) -> bool:
        """Tell whether the host has used up its refusals for now."""
        return self._now(host)[0] >= self._most

    def refuse(self, host: str) -> bool:
        """Count a refusal; True when it is the one that uses the budget up."""
        count, since = self._now(host)
        self._spent[host] = (count + 1, since)
        self._spent.move_to_end(host)
        if len(self._spent) > _MOST_HOSTS:
            self._spent.popitem(last=False)
        return count + 1 == self._most

    def _now(self, host: str) -> tuple[int, int]:
        now = self._clock.monotonic_ns()
        count, since = self._spent.get(host, (0, now))
        back = (now - since) // self._regain_ns
        if back >= count:
            return 0, now
        return count - back, since + back * self._regain_ns
