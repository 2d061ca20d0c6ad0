"""Time, injected, so that tests can set it; the wall clock is corrected by the broker's (ADR 17)."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

TOLERATED_MS: Final = 1000
"""A smaller difference from the broker's clock is not corrected; machines with NTP agree far better."""


def to_ns(duration: timedelta) -> int:
    """Return a duration in nanoseconds, as monotonic clocks count."""
    return duration // timedelta(microseconds=1) * 1000


def from_ns(duration: int) -> timedelta:
    """Return a duration from nanoseconds, rounded down to microseconds."""
    return timedelta(microseconds=duration // 1000)


class Clock(Protocol):
    """A wall clock and a monotonic clock."""

    def now_ms(self) -> int:
        """Return the wall clock in ms since the epoch, UTC."""
        ...

    def monotonic_ns(self) -> int:
        """Return nanoseconds since an arbitrary start; they never go back."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now_ms(self) -> int:
        """Return the wall clock in ms since the epoch, UTC."""
        return time.time_ns() // 1_000_000

    def monotonic_ns(self) -> int:
        """Return nanoseconds since the machine's start."""
        return time.monotonic_ns()


class BrokerClock:
    """A machine's clocks; the wall clock is corrected when it differs from the broker's by more than a second.

    Services on several machines compare each other's dates; the broker, which delivers due messages, is the one
    clock that all of them see. Reads may come from any thread.
    """

    def __init__(self, machine: Clock) -> None:
        self._machine = machine
        self._offset_ms = 0
        self._skew_ms = 0

    def now_ms(self) -> int:
        """Return the wall clock in ms since the epoch, UTC, within about a second of the broker's."""
        return self._machine.now_ms() + self._offset_ms

    def monotonic_ns(self) -> int:
        """Return nanoseconds since the machine's start."""
        return self._machine.monotonic_ns()

    def uncorrected_ms(self) -> int:
        """Return the wall clock of the machine itself, ms."""
        return self._machine.now_ms()

    @property
    def skew_ms(self) -> int:
        """How many ms the machine's clock is ahead of the broker's, as last measured; 0 within a second."""
        return self._skew_ms

    def compare(self, before_ms: int, broker_ms: int, after_ms: int) -> bool:
        """Record that the broker's clock showed `broker_ms` between two reads of the machine's; True when time steps.

        The true difference lies between the reads: the uncertainty of a slow answer is not corrected. A correction
        stays until it is off by more than a second itself, so that time does not jitter.
        """
        if after_ms < before_ms:  # the machine's clock was set in between
            return False
        self._skew_ms = _beyond(before_ms - broker_ms, after_ms - broker_ms)
        if not _beyond(before_ms + self._offset_ms - broker_ms, after_ms + self._offset_ms - broker_ms):
            return False
        self._offset_ms = -self._skew_ms
        return True


def _beyond(low: int, high: int) -> int:
    """Return the number from `low` to `high` that is nearest to 0 if it exceeds a second; 0 otherwise."""
    nearest = low if low > 0 else min(0, high)
    return nearest if abs(nearest) > TOLERATED_MS else 0


def rfc3339(at_ms: int) -> str:
    """Return ms since the epoch as RFC 3339, UTC, with ms: 2026-11-27T15:00:00.000Z."""
    seconds, millis = divmod(at_ms, 1000)
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{millis:03d}Z"
