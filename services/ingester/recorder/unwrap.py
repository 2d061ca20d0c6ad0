"""Unwrapping timestamps of limited width."""

from __future__ import annotations


class Unwrapper:
    """Unwraps timestamps modulo 2**bits; each becomes the possible value nearest to the previous one."""

    def __init__(self, bits: int) -> None:
        self._half = 1 << (bits - 1)
        self._mask = (1 << bits) - 1
        self._last: int | None = None

    def take(self, stamp: int) -> int:
        """Return the unwrapped timestamp; the first one as it is."""
        if self._last is None:
            self._last = stamp
        else:
            self._last += ((stamp - self._last + self._half) & self._mask) - self._half
        return self._last
