"""Asks who may publish without holding up the port.

libsrt's only receiving thread waits while a caller is asked for, and with it every stream of the port. An answer
may need the broker, and the broker may be away. So the question goes to a thread of its own, libsrt waits for it
a moment only, and an answer that comes later is kept for the caller's next try.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from typing import Final

from services.ingester.srt.model import SrtGrant, SrtRequest
from shared.errors import ReelayError
from shared.runtime.clock import Clock

Authorize = Callable[[SrtRequest], SrtGrant | None]

_KEPT_NS: Final = 10_000_000_000
_MOST_LATE: Final = 16


class AnswerLate(ReelayError):  # noqa: N818  names what happened; never leaves this package
    """Nobody knows yet whether the caller may come in."""


class Answers:
    """The questions under way; used by libsrt's receiving thread alone."""

    def __init__(self, authorize: Authorize, patience: timedelta, clock: Clock) -> None:
        self._authorize = authorize
        self._patience_s = patience / timedelta(seconds=1)
        self._clock = clock
        self._pool = ThreadPoolExecutor(1, "srt-authorize")
        self._late: dict[tuple[str, str], tuple[Future[SrtGrant | None], int]] = {}

    def ask(self, request: SrtRequest) -> SrtGrant | None:
        """Return the answer; AnswerLate when it takes longer than the patience, what `authorize` raised otherwise.

        While an answer is late nobody waits for the next one: a broker that is away costs the port one wait.
        """
        now = self._clock.monotonic_ns()
        self._late = {who: entry for who, entry in self._late.items() if now - entry[1] < _KEPT_NS}
        behind = any(not future.done() for future, _ in self._late.values())
        who = (request.raw, request.peer.host)
        future, since = self._late.pop(who, (None, now))
        if future is None:
            if len(self._late) >= _MOST_LATE:
                raise AnswerLate
            future = self._pool.submit(self._authorize, request)
        try:
            return future.result(0 if behind else self._patience_s)
        except TimeoutError:
            if future.done():  # its own error, not ours
                raise
            self._late[who] = (future, since)
            raise AnswerLate from None

    def close(self) -> None:
        """Ask no more; what is under way ends by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)
