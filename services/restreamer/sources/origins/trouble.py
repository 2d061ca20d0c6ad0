"""What goes wrong with an origin for a while: when to ask again, when to give up, and the one log line about it."""

from __future__ import annotations

import time
from threading import Event

from services.restreamer.model import SourceError
from services.restreamer.sources.access import Limits, rest
from shared.errors import ReelayError
from shared.runtime.logging import get_logger
from shared.security.secrets import redact_url

log = get_logger()


class Broken(ReelayError):  # noqa: N818  a state of the transfer, shown to nobody
    """The transfer failed in a way that another try may mend; the text is for people.

    `brief`: the server said no, so that fewer tries are worth it. `after`: seconds that it asked to be left alone for.
    """

    def __init__(self, text: str, *, brief: bool = False, after: float = 0) -> None:
        super().__init__(text)
        self.brief = brief
        self.after = after


class Trouble:
    """Counts the faults of one origin since it last sent something.

    It is asked again at once, then again and again, with pauses that grow to a fifth of `patience`, for `tries` times
    `patience` in which next to nothing came; for one `patience` from when it said no. Time in which nobody waits for
    it does not count.
    """

    def __init__(self, limits: Limits, stop: Event, restream: str = "") -> None:
        self._restream = restream
        self._limits = limits
        self._stop = stop
        self._mark = time.monotonic()
        self._waited = 0.0
        self._tries = self._got = 0
        self._refused: float | None = None  # how long it had been waited for when it said no
        self._first = ""

    def waits(self) -> None:
        """Note that the origin is waited for from now on."""
        self._mark = time.monotonic()

    def got(self, count: int, url: str) -> None:
        """Note bytes that came: with enough of them, what was wrong is over."""
        self._count()
        self._got += count
        if self._got >= self._limits.least:
            self.over(url)

    def over(self, url: str) -> None:
        """Note that all is well."""
        if self._tries > 1:
            self._say("source.resumed", url)
        self._tries = self._got = 0
        self._waited, self._refused = 0.0, None

    def failed(self, fault: Broken, url: str, host: str) -> None:
        """Count a fault, and wait; SourceError when that was the last try."""
        self._count()
        patience = self._limits.patience.total_seconds()
        self._first = self._first if self._tries else str(fault)
        self._tries += 1
        if fault.brief and self._refused is None:
            self._refused = 0.0 if self._tries == 1 else self._waited
        end = patience * self._limits.tries if self._refused is None else self._refused + patience
        left = end - self._waited
        if left <= 0:
            self._say("source.given_up", url, last=str(fault))
            raise SourceError(f"{host}: {fault}", lasting=fault.brief) from fault
        pause = min(self._limits.pause.total_seconds() * 2 ** min(max(self._tries - 2, 0), 16), patience / 5)
        if self._tries == 1:
            pause = 0  # as it may be but a connection that the server has closed between two requests
        rest(self._stop, min(max(pause, fault.after), left))
        self._count()

    def _count(self) -> None:
        """Add the time since the last look to what was waited for next to nothing."""
        now = time.monotonic()
        self._waited, self._mark = self._waited + now - self._mark, now

    def _say(self, event: str, url: str, **more: str) -> None:
        waited = round(self._waited, 1)
        log.warning(
            event, restream=self._restream, source=redact_url(url), fault=self._first, **more,
            tries=self._tries, waited_s=waited,
        )  # fmt: skip
