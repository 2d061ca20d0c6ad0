"""Which account is next, of those that may have work. Pure; times are passed in, in s of a monotonic clock."""

from __future__ import annotations

import heapq
import math
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

AGAIN: Final = tuple(timedelta(milliseconds=ms) for ms in (0, 2, 10, 50, 500))
"""When to ask for work that was announced, after the announcement: the broker may store it a little later."""
TICKS: Final = 1000
"""Times are kept in ms, so that many at nearly the same time become one."""
REMEMBERED: Final = 10_000
SPARE: Final = 64
_LATER: Final = tuple(pause.total_seconds() for pause in AGAIN)
_AT_ONCE: Final = _LATER[:1]


Rank = tuple[int, int, str]
"""An account's work in progress, its last turn, and its name."""


@dataclass(slots=True)
class _Line:
    """An account: when to ask for its work, in ticks, whether that is happening now, and its work in progress.

    `filed` and `ripe` are its valid entries in the two heaps of the Rota; other entries there are stale.
    """

    due: list[int] = field(default_factory=list)
    noted: set[int] = field(default_factory=set)
    running: int = 0
    asking: bool = False
    filed: int | None = None
    ripe: Rank | None = None

    def add(self, tick: int) -> None:
        if tick not in self.noted:
            self.noted.add(tick)
            heapq.heappush(self.due, tick)

    def drop(self, until: int) -> None:
        while self.due and self.due[0] <= until:
            self.noted.discard(heapq.heappop(self.due))


class Rota:
    """Assigns turns: to the account with the least work in progress, and among equals the one served longest ago.

    With `ordered`, an account has one message in progress at a time.

    The last turns of 10,000 accounts are remembered, so that an account which sends messages one by one does not go
    first each time.

    Accounts wait in one heap until they are due, and in another, by rank, for their turn: a turn costs nearly the same
    with ten accounts and with 10,000.
    """

    def __init__(self, *, ordered: bool = False) -> None:
        self._lines: dict[str, _Line] = {}
        self._later: list[tuple[int, str]] = []
        self._ripe: list[Rank] = []
        self._served: OrderedDict[str, int] = OrderedDict()
        self._turns = 0
        self._ordered = ordered

    def expect(self, account: str, at: float, *, once: bool = False) -> None:
        """Record that an account may have work from a time on; `once`: the broker has already stored the work."""
        line = self._lines.setdefault(account, _Line())
        for later in _AT_ONCE if once else _LATER:
            line.add(_floor(at + later))
        self._file(account)

    def next(self, now: float) -> str | None:
        """Return the account to ask now, None when there is none; the caller must call `asked` afterwards."""
        tick = _floor(now)
        while self._later and self._later[0][0] <= tick:
            self._rank(*heapq.heappop(self._later))
        while self._ripe:
            rank = heapq.heappop(self._ripe)
            account = rank[2]
            line = self._lines.get(account)
            if line is None or line.ripe != rank:
                continue
            line.ripe = None
            if not self._may_ask(line) or not line.due or line.due[0] > tick:
                self._file(account)
            elif rank != self._rank_of(account, line):
                self._push(account, line)
            else:
                line.asking = True
                return account
        return None

    def _file(self, account: str) -> None:
        """Put an account that may be asked into the heap in which it is found when due."""
        line = self._lines.get(account)
        if line is None or not line.due or not self._may_ask(line):
            return
        if line.ripe is not None:
            self._push(account, line)
        elif line.filed is None or line.due[0] < line.filed:
            line.filed = line.due[0]
            heapq.heappush(self._later, (line.filed, account))
            if len(self._later) > self._most():
                self._later = [(one.filed, name) for name, one in self._lines.items() if one.filed is not None]
                heapq.heapify(self._later)

    def _rank(self, tick: int, account: str) -> None:
        """Move an account that is due to the heap of ranks."""
        line = self._lines.get(account)
        if line is None or line.filed != tick:
            return
        line.filed = None
        if not line.due or not self._may_ask(line):
            return
        if line.due[0] <= tick:
            self._push(account, line)
        else:
            self._file(account)

    def _push(self, account: str, line: _Line) -> None:
        rank = self._rank_of(account, line)
        if line.ripe is None or rank < line.ripe:
            line.ripe = rank
            heapq.heappush(self._ripe, rank)
            if len(self._ripe) > self._most():
                self._ripe = [one.ripe for one in self._lines.values() if one.ripe is not None]
                heapq.heapify(self._ripe)

    def _most(self) -> int:
        """Return how many entries a heap may have before the stale ones are removed."""
        return 2 * len(self._lines) + SPARE

    def _rank_of(self, account: str, line: _Line) -> Rank:
        return line.running, self._served.get(account, 0), account

    def _may_ask(self, line: _Line) -> bool:
        return not line.asking and not (self._ordered and line.running)

    def soonest(self) -> float:
        """Return when the next account is due; infinity when none is."""
        ripe = (line for rank in self._ripe if (line := self._lines.get(rank[2])) and line.ripe == rank)
        first = min((line.due[0] for line in ripe if line.due and self._may_ask(line)), default=math.inf)
        while self._later:
            tick, account = self._later[0]
            line = self._lines.get(account)
            if line and line.filed == tick and line.due and line.due[0] == tick and self._may_ask(line):
                return min(first, tick) / TICKS
            heapq.heappop(self._later)
            if line and line.filed == tick:
                line.filed = None
                self._file(account)
        return first / TICKS

    def asked(self, account: str, at: float, *, begins: bool) -> None:
        """Record the answer of an account that was asked at a time: work that begins, or none."""
        line = self._lines[account]
        line.asking = False
        if begins:
            line.running += 1
            self._served_now(account)
        else:
            line.drop(_floor(at))
        if line.due or line.running:
            self._file(account)
        else:
            del self._lines[account]

    def _served_now(self, account: str) -> None:
        self._turns += 1
        self._served[account] = self._turns
        self._served.move_to_end(account)
        if len(self._served) > REMEMBERED:
            self._file(self._served.popitem(last=False)[0])  # now ranks as never served

    def ended(self, account: str, now: float) -> None:
        """Record that work ended: the account may have more."""
        self._lines[account].running -= 1
        self.expect(account, now)

    def __len__(self) -> int:
        return len(self._lines)


def _floor(at: float) -> int:
    """Return the last tick at or before a time, tolerating the rounding of a tick's own time."""
    return math.floor(at * TICKS + 1e-6)
