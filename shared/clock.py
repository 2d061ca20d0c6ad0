"""Time, injected, so that tests can set it."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What code may ask of time."""

    def now_ms(self) -> int:
        """Wall clock in ms since the epoch, UTC."""
        ...

    def monotonic_ns(self) -> int:
        """Nanoseconds that never go back, from an arbitrary start."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now_ms(self) -> int:
        """Wall clock in ms since the epoch, UTC."""
        return time.time_ns() // 1_000_000

    def monotonic_ns(self) -> int:
        """Nanoseconds since the machine's start."""
        return time.monotonic_ns()
