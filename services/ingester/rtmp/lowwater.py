"""The number of bytes that a read of a live stream waits for."""

from __future__ import annotations

from collections.abc import Callable

_SECOND_NS = 1_000_000_000


class LowWater:
    """Adapts to a stream's rate, so that one read takes many bytes and yet none waits long.

    The mark is half of the bytes that arrive in `part_ns`, at most `most` and `window` / 4 (the peer may stop at its
    window, and is acknowledged at half of it). `apply` is called with each new mark.
    """

    def __init__(self, apply: Callable[[int], None], *, part_ns: int, most: int, start_ns: int) -> None:
        self.window = 0
        self._apply = apply
        self._part_ns = part_ns
        self._most = most
        self._since_ns = start_ns
        self._bytes = 0
        self._mark = 1

    def note(self, count: int, now_ns: int) -> None:
        """Count `count` bytes received until `now_ns`."""
        self._bytes += count
        elapsed = now_ns - self._since_ns
        if elapsed < _SECOND_NS:
            return
        mark = min(self._bytes * self._part_ns // elapsed // 2, self._most)
        if self.window:
            mark = min(mark, self.window // 4)
        self._since_ns, self._bytes = now_ns, 0
        mark = max(mark, 1)
        if abs(mark - self._mark) * 4 > self._mark:
            self._mark = mark
            self._apply(mark)
