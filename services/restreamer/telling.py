"""What a holder tells of its run: events from playout's reports and targets' states, published in order."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Final

from services.restreamer.playout import FileStarted, Warned
from shared.bus import Outbox
from shared.clock import Clock
from shared.errors import Unavailable
from shared.logging import get_logger
from shared.messages.restreams import (
    RestreamEvent,
    RestreamFileStarted,
    RestreamRecord,
    RestreamTargetChanged,
    RestreamWarned,
    Target,
    TargetStatus,
)
from shared.tasks import beside

log = get_logger()
AGAIN_S: Final = 0.5
MOST_WAITING: Final = 1000
Job = Callable[[], Awaitable[object]]


class Telling:
    """One run's events, numbered, and other work that must be done in their order; all again until the broker takes it.

    `number` is that of the last event; a holder begins beyond those that the one before may have used.
    """

    def __init__(self, outbox: Outbox, clock: Clock, number: int) -> None:
        self._outbox = outbox
        self._clock = clock
        self.number = number
        self._jobs: asyncio.Queue[Job] = asyncio.Queue()
        self._named: dict[str, Target] = {}
        self._last: dict[str, TargetStatus] = {}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Do the work while the block runs."""
        async with beside(self._work()):
            yield

    def add(self, job: Job) -> None:
        """Do `job` when what came before is done."""
        self._jobs.put_nowait(job)

    async def finished(self, seconds: float) -> bool:
        """Wait until all is done; False when it is not in time."""
        try:
            async with asyncio.timeout(seconds):
                await self._jobs.join()
        except TimeoutError:
            return False
        return True

    async def _work(self) -> None:
        while True:
            job = await self._jobs.get()
            try:
                await self._until_done(job)
            finally:
                self._jobs.task_done()

    async def _until_done(self, job: Job) -> None:
        while True:
            try:
                await job()
            except Unavailable as error:
                log.info("restream.event.later", reason=str(error))
                await asyncio.sleep(AGAIN_S)
            else:
                return

    def _emit(self, event: RestreamEvent) -> None:
        """Publish an event; not when the broker has been away for so long that too many wait."""
        if self._jobs.qsize() < MOST_WAITING:
            self.add(lambda: self._outbox.emit(event))
        else:
            log.warning("restream.event.dropped", restream=event.restream, channel=event.channel)

    def _about(self, record: RestreamRecord) -> dict[str, Any]:
        now_ms = self._clock.now_ms()
        self.number = max(now_ms, self.number + 1)
        return {
            "account": record.account, "restream": record.restream, "run": record.run, "number": self.number,
            "at_ms": now_ms, "callback": record.spec.callback,
        }  # fmt: skip

    def warned(self, record: RestreamRecord, report: Warned) -> None:
        """Tell of a fault."""
        about = self._about(record)
        event = RestreamWarned(
            **about, item=report.item, shown=report.shown, text=report.text[:512], targets=record.spec.targets
        )
        self._emit(event)

    def file(self, record: RestreamRecord, report: FileStarted) -> None:
        """Tell of the next file."""
        video, audio = report.video, report.audio
        event = RestreamFileStarted(
            **self._about(record), item=report.place.item, loop=report.place.loop, live=report.live,
            shown=report.item.source.shown if report.item else "", how=report.how, reason=report.reason[:512],
            video=video.codec, audio=audio.codec if audio else "", width=video.width, height=video.height,
            rate=str(video.rate or ""), duration=report.duration, targets=record.spec.targets,
        )  # fmt: skip
        self._emit(event)

    def targets(self, record: RestreamRecord, statuses: Sequence[TargetStatus]) -> None:
        """Tell of targets whose state changed, and of those that are no longer there."""
        self._named |= {target.target: target for target in record.spec.targets}
        now = {status.target: status for status in statuses}
        gone = [s.model_copy(update={"state": "removed"}) for name, s in self._last.items() if name not in now]
        for status in (*statuses, *gone):
            old, target = self._last.get(status.target), self._named.get(status.target)
            if target and (old is None or old.state != status.state):
                self._emit(RestreamTargetChanged(**self._about(record), status=status, target=target))
        self._last = now
