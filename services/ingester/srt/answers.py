"""Authorizes callers without blocking the port.

libsrt's only receiving thread, and with it every stream of the port, waits while a caller is authorized. The answer
may need the broker, which may be unavailable. So `authorize` runs in a thread of its own, libsrt waits only briefly,
and a later answer is kept for the caller's next try.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from typing import Final

from services.ingester.srt.model import SrtGrant, SrtRequest
from shared.errors import ReelayError
from shared.runtime.clock import Clock, to_ns

Authorize = Callable[[SrtRequest], SrtGrant | None]

_KEPT: Final = timedelta(seconds=10)
_MOST_LATE: Final = 16


class AnswerLate(ReelayError):  # noqa: N818  names what happened; never leaves this package
    """It is not known yet whether the caller may publish."""


class Answers:
    """The pending questions; used only by libsrt's receiving thread."""

    def __init__(self, authorize: Authorize, patience: timedelta, clock: Clock) -> None:
        self._authorize = authorize
        self._patience = patience
        self._clock = clock
        self._pool = ThreadPoolExecutor(1, "srt-authorize")
        self._late: dict[tuple[str, str], tuple[Future[SrtGrant | None], int]] = {}

    def ask(self, request: SrtRequest) -> SrtGrant | None:
        """Return the answer; raises AnswerLate when it takes longer than `patience`, and what `authorize` raises.

        While an answer is late, further questions do not wait: an unavailable broker costs the port one wait.
        """
        now, kept_ns = self._clock.monotonic_ns(), to_ns(_KEPT)
        self._late = {who: entry for who, entry in self._late.items() if now - entry[1] < kept_ns}
        behind = any(not future.done() for future, _ in self._late.values())
        who = (request.raw, request.peer.host)
        future, since = self._late.pop(who, (None, now))
        if future is None:
            if len(self._late) >= _MOST_LATE:
                raise AnswerLate
            future = self._pool.submit(self._authorize, request)
        try:
            return future.result(0 if behind else self._patience.total_seconds())
        except TimeoutError:
            if future.done():  # its own error, not ours
                raise
            self._late[who] = (future, since)
            raise AnswerLate from None

    def close(self) -> None:
        """Stop asking; a running question ends by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)
