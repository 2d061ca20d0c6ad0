"""Time, injected, so that tests can set it; the wall clock is put right by the broker's (ADR 17)."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

TOLERATED_MS: Final = 1000
"""Machines whose clocks are kept (NTP) agree by far better; within this, nobody's date is changed."""


def to_ns(duration: timedelta) -> int:
    """Return a duration in nanoseconds, as monotonic clocks count."""
    return duration // timedelta(microseconds=1) * 1000


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


class BrokerClock:
    """A machine's clocks, its wall clock corrected by what it is off the broker's, once that is more than a second.

    Services on several machines compare each other's dates; the broker, which delivers what is due, is the one
    clock that all of them see. Reads may come from any thread.
    """

    def __init__(self, machine: Clock) -> None:
        self._machine = machine
        self._offset_ms = 0
        self._skew_ms = 0

    def now_ms(self) -> int:
        """Wall clock in ms since the epoch, UTC, within about a second of the broker's."""
        return self._machine.now_ms() + self._offset_ms

    def monotonic_ns(self) -> int:
        """Nanoseconds since the machine's start."""
        return self._machine.monotonic_ns()

    def uncorrected_ms(self) -> int:
        """Wall clock of the machine itself."""
        return self._machine.now_ms()

    @property
    def skew_ms(self) -> int:
        """How far the machine's clock is ahead of the broker's, as last measured; 0 within a second."""
        return self._skew_ms

    def compare(self, before_ms: int, broker_ms: int, after_ms: int) -> bool:
        """Take in that the broker's clock showed `broker_ms` between two reads of the machine's; True: time steps now.

        The truth lies between the reads: what a slow answer leaves open is not corrected. A correction stays until it
        is off by more than a second itself, so that time does not shake.
        """
        if after_ms < before_ms:  # the machine's clock was set in between
            return False
        self._skew_ms = _beyond(before_ms - broker_ms, after_ms - broker_ms)
        if not _beyond(before_ms + self._offset_ms - broker_ms, after_ms + self._offset_ms - broker_ms):
            return False
        self._offset_ms = -self._skew_ms
        return True


def _beyond(low: int, high: int) -> int:
    """Return the number between two that is nearest to 0 when it is more than a second; 0 otherwise."""
    nearest = low if low > 0 else min(0, high)
    return nearest if abs(nearest) > TOLERATED_MS else 0


def rfc3339(at_ms: int) -> str:
    """Write ms since the epoch as RFC 3339, UTC, with ms: 2026-11-27T15:00:00.000Z."""
    seconds, millis = divmod(at_ms, 1000)
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{millis:03d}Z"
