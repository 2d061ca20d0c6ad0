"""Whose turn it is, of accounts that may have work. Pure; time is passed in, in s of a clock that never goes back."""

from __future__ import annotations

import heapq
import math
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

AGAIN_S: Final = (0.0, 0.002, 0.01, 0.05, 0.5)
"""When to ask for what was heard of: the broker may not have stored it at once."""
TICKS: Final = 1000
"""Times are kept in thousandths of a second, so that many at nearly the same time are one."""
REMEMBERED: Final = 10_000


@dataclass(slots=True)
class _Line:
    """An account: when to ask for its work, in ticks, whether it is being asked, and how much of its work goes on."""

    due: list[int] = field(default_factory=list)
    noted: set[int] = field(default_factory=set)
    running: int = 0
    asking: bool = False

    def add(self, tick: int) -> None:
        if tick not in self.noted:
            self.noted.add(tick)
            heapq.heappush(self.due, tick)

    def drop(self, until: int) -> None:
        while self.due and self.due[0] <= until:
            self.noted.discard(heapq.heappop(self.due))


class Rota:
    """Gives turns: first who has the least in work, of those who was served longest ago, or never.

    With `ordered`, one piece of an account's work goes on at a time.

    Who was served last is remembered of the last 10,000 accounts, so that one which comes with single pieces of work
    goes before nobody each time.
    """

    def __init__(self, *, ordered: bool = False) -> None:
        self._lines: dict[str, _Line] = {}
        self._served: OrderedDict[str, int] = OrderedDict()
        self._turns = 0
        self._ordered = ordered

    def expect(self, account: str, at: float, *, once: bool = False) -> None:
        """Take note that an account may have work from a time on; `once`: what it has, the broker has stored."""
        line = self._lines.setdefault(account, _Line())
        for later in AGAIN_S[:1] if once else AGAIN_S:
            line.add(_floor(at + later))

    def next(self, now: float) -> str | None:
        """Name the account to be asked now, None while there is none; `asked` must follow."""
        tick = _floor(now)
        ready = [
            (line.running, self._served.get(account, 0), account)
            for account, line in self._lines.items()
            if line.due and line.due[0] <= tick and self._may_ask(line)
        ]
        if not ready:
            return None
        account = min(ready)[2]
        self._lines[account].asking = True
        return account

    def _may_ask(self, line: _Line) -> bool:
        return not line.asking and not (self._ordered and line.running)

    def soonest(self) -> float:
        """Give when the next account is to be asked; infinity when none is."""
        return (
            min((line.due[0] for line in self._lines.values() if line.due and self._may_ask(line)), default=math.inf)
            / TICKS
        )

    def asked(self, account: str, at: float, *, begins: bool) -> None:
        """Take note that an account that was asked at a time had work, which begins, or nothing."""
        line = self._lines[account]
        line.asking = False
        if begins:
            line.running += 1
            self._served_now(account)
            return
        line.drop(_floor(at))
        if not line.due and not line.running:
            del self._lines[account]

    def _served_now(self, account: str) -> None:
        self._turns += 1
        self._served[account] = self._turns
        self._served.move_to_end(account)
        if len(self._served) > REMEMBERED:
            self._served.popitem(last=False)

    def ended(self, account: str, now: float) -> None:
        """Take note that work ended: there may be more."""
        self._lines[account].running -= 1
        self.expect(account, now)

    def __len__(self) -> int:
        return len(self._lines)


def _floor(at: float) -> int:
    """Give the last tick that a time has reached; a tick's own time has, however it was rounded."""
    return math.floor(at * TICKS + 1e-6)
