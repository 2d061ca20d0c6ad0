"""Temporary faults of an origin: when to retry, when to give up, and the single log line about it."""

from __future__ import annotations

import time
from datetime import timedelta
from threading import Event

from services.restreamer.model import SourceError
from services.restreamer.sources.access import Limits, rest
from shared.errors import ReelayError
from shared.runtime.clock import from_ns, to_ns
from shared.runtime.logging import get_logger
from shared.security.secrets import redact_url

log = get_logger()


class Broken(ReelayError):  # noqa: N818  a state of the transfer, never shown
    """The transfer failed, and another try may succeed; the text is for people.

    `brief`: the server refused, so retries end earlier. `after`: the server's Retry-After.
    """

    def __init__(self, text: str, *, brief: bool = False, after: timedelta = timedelta()) -> None:
        super().__init__(text)
        self.brief = brief
        self.after = after


class Trouble:
    """Counts the faults of one origin since it last sent data.

    The first retry is immediate; later ones have pauses that grow to a fifth of `patience`. Retries end after `tries`
    times `patience` with almost no data, or one `patience` after a refusal. Time in which no reader waits for the
    origin does not count.
    """

    def __init__(self, limits: Limits, stop: Event, restream: str = "") -> None:
        self._restream = restream
        self._limits = limits
        self._stop = stop
        self._mark_ns = time.monotonic_ns()
        self._waited_ns = 0
        self._tries = self._got = 0
        self._refused_ns: int | None = None  # the waiting time so far when the server refused
        self._first = ""

    def waits(self) -> None:
        """Record that a reader waits for the origin from now on."""
        self._mark_ns = time.monotonic_ns()

    def got(self, count: int, url: str) -> None:
        """Record received bytes; with enough of them, the fault is over."""
        self._count()
        self._got += count
        if self._got >= self._limits.least:
            self.over(url)

    def over(self, url: str) -> None:
        """Record that the fault is over."""
        if self._tries > 1:
            self._say("source.resumed", url)
        self._tries = self._got = 0
        self._waited_ns, self._refused_ns = 0, None

    def failed(self, fault: Broken, url: str, host: str) -> None:
        """Count a fault, and pause; raise SourceError when that was the last try."""
        self._count()
        patience = to_ns(self._limits.patience)
        self._first = self._first if self._tries else str(fault)
        self._tries += 1
        if fault.brief and self._refused_ns is None:
            self._refused_ns = 0 if self._tries == 1 else self._waited_ns
        end = patience * self._limits.tries if self._refused_ns is None else self._refused_ns + patience
        left = end - self._waited_ns
        if left <= 0:
            self._say("source.given_up", url, last=str(fault))
            raise SourceError(f"{host}: {fault}", lasting=fault.brief) from fault
        pause = min(to_ns(self._limits.pause) * 2 ** min(max(self._tries - 2, 0), 16), patience // 5)
        if self._tries == 1:
            pause = 0  # the server may only have closed an idle connection
        rest(self._stop, from_ns(min(max(pause, to_ns(fault.after)), left)))
        self._count()

    def _count(self) -> None:
        """Add the time since the last call to the time waited."""
        now = time.monotonic_ns()
        self._waited_ns, self._mark_ns = self._waited_ns + now - self._mark_ns, now

    def _say(self, event: str, url: str, **more: str) -> None:
        waited = round(from_ns(self._waited_ns).total_seconds(), 1)
        log.warning(
            event, restream=self._restream, source=redact_url(url), fault=self._first, **more,
            tries=self._tries, waited_s=waited,
        )  # fmt: skip
