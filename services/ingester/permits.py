"""Whether the owner of a job lets a publisher in: asked of the job's own HTTP server, at first and again and again.

The publisher's own thread waits for the first answer, so that a slow server holds up nobody else (ADR 33).
"""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from cachetools import LRUCache

from services.ingester.access import AdmittedJob
from services.ingester.refusals import denied, later
from shared.messages.live import Protocol
from shared.runtime.clock import Clock, to_ns
from shared.runtime.logging import get_logger
from shared.security.backends import Answer, Backends, BackendSilent

log = get_logger()
AGAIN: Final = timedelta(seconds=10)
"""So long a publisher goes on before a server that is silent is asked again."""
SLACK: Final = timedelta(seconds=2)
REMEMBERED: Final = 4096
LONGEST_TOKEN: Final = 512


@dataclass(eq=False, slots=True)
class Permit:
    """What is asked about one publisher, and the last answer. `url` empty: nobody is asked."""

    job: AdmittedJob
    url: str = field(repr=False)
    params: dict[str, str] = field(repr=False)
    since_ns: int
    asked: int = 0
    answer: Answer | None = None


class Permits:
    """Asks about publishers. `usual` is the URL for jobs that have none."""

    def __init__(self, backends: Backends, clock: Clock, usual: str = "") -> None:
        self._backends = backends
        self._clock = clock
        self._usual = usual
        self._refused: LRUCache[tuple[str, str, str], int] = LRUCache(REMEMBERED)
        self._lock = threading.Lock()  # threads of connections, and the loop
        self._loop: asyncio.AbstractEventLoop | None = None

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Set the event loop in which servers are asked."""
        self._loop = loop

    def refused_lately(self, job: AdmittedJob, host: str, token: str = "") -> None:
        """Raise PublishRefused while a no to the same publisher holds; asks nobody."""
        with self._lock:
            until_ns = self._refused.get((job.event, host, token), 0)
        if self._clock.monotonic_ns() < until_ns:
            raise denied()

    def permit(self, job: AdmittedJob, protocol: Protocol, host: str, token: str = "") -> Permit:
        """Return a publisher's permit; PublishRefused when it is denied, or when there is no answer. Blocks."""
        token = token[:LONGEST_TOKEN]
        permit = Permit(job, job.on_publish or self._usual, {
            "name": job.stream or job.event, "proto": protocol, "ip": host, "token": token, "mode": "publish",
            "session_id": str(uuid.uuid4()),
        }, self._clock.monotonic_ns())  # fmt: skip
        if not permit.url:
            return permit
        self.refused_lately(job, host, token)
        if self._loop is None:
            raise later()
        future = asyncio.run_coroutine_threadsafe(self._ask(permit), self._loop)
        try:
            answer = future.result((self._backends.patience + SLACK).total_seconds())
        except (BackendSilent, FutureTimeoutError) as error:
            future.cancel()
            log.warning("publish.backend.silent", job=job.event, account=job.account, reason=str(error))
            raise later() from None
        if not answer.allowed:
            self._refuse((job.event, host, token), answer)
            raise denied()
        return permit

    async def follow(self, permit: Permit, end: Callable[[], None]) -> None:
        """Ask again whenever an answer's time is over, and call `end` when the publisher is denied; until cancelled."""
        while permit.answer is not None:
            holds = permit.answer.holds
            await asyncio.sleep(holds.total_seconds())
            try:
                answer = await self._ask(permit)
            except BackendSilent as error:
                log.warning("publish.backend.silent", reason=str(error))
                permit.answer = Answer(allowed=True, holds=AGAIN)
                continue
            if not answer.allowed:
                key = permit.job.event, permit.params["ip"], permit.params["token"]
                self._refuse(key, answer)
                log.info("publish.denied")
                end()
                return

    def _refuse(self, key: tuple[str, str, str], answer: Answer) -> None:
        with self._lock:
            self._refused[key] = self._clock.monotonic_ns() + to_ns(answer.holds)

    async def _ask(self, permit: Permit) -> Answer:
        """Ask once, and record an answer."""
        duration = (self._clock.monotonic_ns() - permit.since_ns) // 1_000_000_000
        params = {
            **permit.params, "request_type": "update_session" if permit.asked else "new_session",
            "request_number": str(permit.asked), "duration": str(duration),
        }  # fmt: skip
        answer = await self._backends.ask(permit.job.account, permit.url, params)
        permit.asked += 1
        permit.answer = answer
        return answer
