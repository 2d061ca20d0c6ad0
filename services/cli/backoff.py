"""How long to wait before a program that ended is started again."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

FIRST: Final = timedelta(seconds=1)
MOST: Final = timedelta(seconds=30)
HEALTHY: Final = timedelta(seconds=60)


class RestartDelay:
    """A delay that doubles from `first` to `most`; a run of `healthy` or longer resets it."""

    def __init__(self, first: timedelta = FIRST, most: timedelta = MOST, healthy: timedelta = HEALTHY) -> None:
        self._first, self._most, self._healthy = first, most, healthy
        self._next = first

    def after(self, ran: timedelta) -> timedelta:
        """Return the pause after a run that lasted `ran`."""
        if ran >= self._healthy:
            self._next = self._first
        pause = self._next
        self._next = min(pause * 2, self._most)
        return pause
