"""Publishes a run's events in order, from playout's reports and targets' states.

Repetitions are published after growing pauses, so that no target or file floods the receivers (`quiet.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from datetime import timedelta
from typing import Any, Final

from structlog.stdlib import BoundLogger

from services.restreamer.playout import FileStarted, Warned
from services.restreamer.quiet import Repeats, TargetNews
from shared.broker.bus import Outbox
from shared.errors import Unavailable
from shared.messages.restreams import (
    RestreamEvent,
    RestreamFileStarted,
    RestreamRecord,
    RestreamTargetChanged,
    RestreamWarned,
    Target,
    TargetStatus,
)
from shared.runtime.clock import Clock
from shared.runtime.logging import get_logger
from shared.runtime.tasks import beside

log = get_logger()
AGAIN: Final = timedelta(milliseconds=500)
MOST_WAITING: Final = 1000
Job = Callable[[], Awaitable[object]]


class Telling:
    """One run's events, numbered, and other work to be done in their order; each is retried until the broker takes it.

    `number` is that of the last event; a holder starts above those that the previous one may have used. `sent` are the
    targets that media was sent to before.
    """

    def __init__(
        self, outbox: Outbox, clock: Clock, number: int, sent: Iterable[str] = (), own: BoundLogger | None = None
    ) -> None:
        self.log = own or log
        self._outbox = outbox
        self._clock = clock
        self.number = number
        self._jobs: asyncio.Queue[Job] = asyncio.Queue()
        self._named: dict[str, Target] = {}
        self._news: dict[str, TargetNews] = {}
        self._last: dict[str, TargetStatus] = {}
        self.sent = set(sent)
        self._repeats = Repeats()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Do the work while the block runs."""
        async with beside(self._work()):
            yield

    def add(self, job: Job) -> None:
        """Queue `job` after the jobs added before."""
        self._jobs.put_nowait(job)

    async def finished(self, within: timedelta) -> bool:
        """Wait until all jobs are done; return False when that takes too long."""
        try:
            async with asyncio.timeout(within.total_seconds()):
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
                self.log.info("restream.event.later", reason=str(error))
                await asyncio.sleep(AGAIN.total_seconds())
            else:
                return

    def _emit(self, event: RestreamEvent) -> None:
        """Publish an event; drop it when too many wait, as the broker has been away for long."""
        if self._jobs.qsize() < MOST_WAITING:
            self.add(lambda: self._outbox.emit(event))
        else:
            self.log.warning("restream.event.dropped", channel=event.channel)

    def _about(self, record: RestreamRecord) -> dict[str, Any]:
        now_ms = self._clock.now_ms()
        self.number = max(now_ms, self.number + 1)
        return {
            "account": record.account, "restream": record.restream, "run": record.run, "number": self.number,
            "at_ms": now_ms, "subscription": record.spec.subscription, "output": record.spec.output,
        }  # fmt: skip

    def warned(self, record: RestreamRecord, report: Warned) -> None:
        """Publish a fault, for example a file that is not played, or not to its end."""
        job = job_of(record, report.item) if report.shown else None
        news = self._repeats.is_news((report.item, report.shown, report.text), self._clock.monotonic_ns())
        tell = self.log.warning if news else self.log.debug
        said = "restream.file.skipped" if report.skipped else "restream.warned"
        tell(said, file=report.shown, item=report.item, job=job, reason=report.text)
        if not news:
            return
        event = RestreamWarned(
            **self._about(record), item=report.item, shown=report.shown, text=report.text[:512],
            job=job, targets=record.spec.targets,
        )  # fmt: skip
        self._emit(event)

    def file(self, record: RestreamRecord, report: FileStarted) -> None:
        """Publish that the next file plays."""
        video, audio, at = report.video, report.audio, report.cursor
        job = job_of(record, None if report.live else at.item)
        file = report.item.source.shown if report.item else ""
        news = self._repeats.is_news((at.item, file, report.how, "started"), self._clock.monotonic_ns())
        tell = self.log.info if news else self.log.debug
        tell("restream.file.started", file=file, item=at.item, loop=at.loop, job=job, how=report.how)
        event = RestreamFileStarted(
            **self._about(record), item=at.item, loop=at.loop, live=report.live, shown=file, how=report.how,
            reason=report.reason[:512], job=job,
            video=video.codec, audio=audio.codec if audio else "", width=video.width, height=video.height,
            rate=str(video.rate or ""), duration=report.duration, targets=record.spec.targets,
        )  # fmt: skip
        self._emit(event)

    def targets(self, record: RestreamRecord, statuses: Sequence[TargetStatus]) -> list[TargetStatus]:
        """Publish targets whose state changed or that were removed; return the published statuses."""
        self._named |= {target.target: target for target in record.spec.targets}
        now = {status.target: status for status in statuses}
        gone = [s.model_copy(update={"state": "removed"}) for name, s in self._last.items() if name not in now]
        self._last = now
        return [status for status in (*statuses, *gone) if self._tell(record, status)]

    def _tell(self, record: RestreamRecord, status: TargetStatus) -> bool:
        name, target = status.target, self._named.get(status.target)
        news = self._news.get(name)
        if news is None or (news.told == "removed" and status.state != "removed"):
            news = self._news[name] = TargetNews()
        if target is None or not news.is_news(status.state, self._clock.monotonic_ns()):
            return False
        self._emit(RestreamTargetChanged(**self._about(record), status=status, target=target, again=name in self.sent))
        if status.state == "live":
            self.sent.add(name)
        elif status.state == "removed":
            self.sent.discard(name)  # if it is named again, it starts anew
        return True


def job_of(record: RestreamRecord, item: int | None) -> str | None:
    """Return the job that an item is a recording of; for item None, the live job that plays in place of the list."""
    if item is None:
        return record.spec.live.event if record.spec.live else None
    source = record.spec.items[item].source if item < len(record.spec.items) else None
    return source.location if source and source.kind in {"recording", "job"} else None


def shown(status: TargetStatus) -> TargetStatus:
    """Return a target's public state: it is live once media was sent to it."""
    return status.model_copy(update={"state": "ready"}) if status.state == "live" and status.unsent else status


def at_the_end(status: TargetStatus, reached: Collection[str]) -> TargetStatus:
    """Return a target's state after its run: failed, when nothing was sent to it, or removed."""
    if status.state in {"failed", "removed"}:
        return status
    if status.target in reached or status.state == "live":
        return status.model_copy(update={"state": "removed"})
    return status.model_copy(update={"state": "failed", "error": status.error or "nothing was sent to it"})
