"""Limits of simultaneous requests, so that a slow or dead receiver takes no slot from another.

Kept in memory by each instance: it protects the instance's own slots. Time is passed in, in ms.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Final

PER_RECEIVER: Final = 4
PER_ACCOUNT: Final = 64
LONGEST_WAIT_MS: Final = 60_000
SHORTEST_WAIT_MS: Final = 50
FAILURES_BEFORE_PAUSE: Final = 3
KNOWN_RECEIVERS: Final = 20_000


@dataclass(slots=True)
class _State:
    busy: int = 0
    failures: int = 0
    mean_ms: float = 200.0
    paused_until_ms: int = 0
    next_turn_ms: float = 0.0


@dataclass(slots=True)
class Traffic:
    """Decides when sends start. A failing receiver gets one at a time, with pauses doubling from 1 s to a minute."""

    _receivers: dict[str, _State] = field(default_factory=dict)
    _accounts: dict[str, int] = field(default_factory=dict)

    def enter(self, account: str, receiver: str, now_ms: int) -> int:
        """Start a send and return 0 (then `leave` must follow), or return how many ms to wait before asking again.

        Waiting callers get turns one after the other, so that most ask only once more.
        """
        state = self._state(account, receiver)
        cap = 1 if state.failures else PER_RECEIVER
        paused = now_ms < state.paused_until_ms
        if not paused and state.busy < cap and self._accounts.get(account, 0) < PER_ACCOUNT:
            state.busy += 1
            self._accounts[account] = self._accounts.get(account, 0) + 1
            return 0
        turn = max(now_ms, state.paused_until_ms, state.next_turn_ms)
        state.next_turn_ms = turn + state.mean_ms / cap
        wait = turn - now_ms + state.mean_ms / cap
        return int(min(max(wait, SHORTEST_WAIT_MS), LONGEST_WAIT_MS) * (1 + random.random() / 5))

    def leave(self, account: str, receiver: str) -> None:
        """End a send. The caller reports its result with `learn`, unless nothing was sent."""
        self._state(account, receiver).busy -= 1
        self._accounts[account] -= 1
        if not self._accounts[account]:
            del self._accounts[account]

    def learn(self, account: str, receiver: str, *, failed: bool, took_ms: int, now_ms: int) -> None:
        """Record the result of a send."""
        state = self._state(account, receiver)
        state.mean_ms += (took_ms - state.mean_ms) / 4
        if not failed:
            state.failures, state.paused_until_ms, state.next_turn_ms = 0, 0, 0.0
            return
        state.failures += 1
        if state.failures >= FAILURES_BEFORE_PAUSE:
            pause = min(1000 * 2 ** min(state.failures - FAILURES_BEFORE_PAUSE, 10), LONGEST_WAIT_MS)
            state.paused_until_ms = now_ms + pause

    def failing(self, account: str, receiver: str) -> bool:
        """Return whether the receiver failed several times in a row, so that it is tried after pauses only."""
        return self._state(account, receiver).failures >= FAILURES_BEFORE_PAUSE

    def _state(self, account: str, receiver: str) -> _State:
        key = f"{account} {receiver}"
        state = self._receivers.pop(key, None) or _State()
        self._receivers[key] = state  # the most recently used is last
        if len(self._receivers) > KNOWN_RECEIVERS:
            self._forget()
        return state

    def _forget(self) -> None:
        for key in [k for k, s in self._receivers.items() if not s.busy][: KNOWN_RECEIVERS // 10]:
            del self._receivers[key]
