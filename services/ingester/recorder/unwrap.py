"""Timestamps of limited width as numbers that go on."""

from __future__ import annotations


class Unwrapper:
    """Takes timestamps modulo 2**bits; each is the nearest to the one before it that it can stand for."""

    def __init__(self, bits: int) -> None:
        self._half = 1 << (bits - 1)
        self._mask = (1 << bits) - 1
        self._last: int | None = None

    def take(self, stamp: int) -> int:
        """Return the timestamp without wraps; the first one as it is."""
        if self._last is None:
            self._last = stamp
        else:
            self._last += ((stamp - self._last + self._half) & self._mask) - self._half
        return self._last
