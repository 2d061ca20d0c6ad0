"""Keeps the broker's schedules equal to the timers that the events must have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from services.scheduler.timers import by_the_broker, ended, names, started, wanted
from shared.broker.bus import Outbox
from shared.broker.kv import Bucket, Conflict, Stored
from shared.messages.jobs import JobRecord
from shared.messages.live import JobStateChanged, LiveFinish, LiveMessage, SessionEnded, SessionStarted
from shared.messages.schedules import EventTimers
from shared.runtime.logging import get_logger

log = get_logger()
MOST_ROUNDS: Final = 20
Change = Callable[[EventTimers], EventTimers | None]


def timers_key(account: str, event: str) -> str:
    """Return the key of an event's timers in the bucket `schedules`, and of its job in `events`."""
    return f"{account}.{event}"


@dataclass(slots=True)
class Keeper:
    """Records what happens to events, and sets and cancels their timers. Unavailable when the broker is."""

    timers: Bucket[EventTimers]
    jobs: Bucket[JobRecord]
    outbox: Outbox

    async def session_started(self, event: SessionStarted, taken_ms: int) -> None:
        """Cancel the reconnect timer; the event's length counts from its first session."""
        at_ms = by_the_broker(event.at_ms, taken_ms)
        await self._take_in(event, lambda known: started(known, event.session, at_ms, event.resumed))

    async def session_ended(self, event: SessionEnded, taken_ms: int) -> None:
        """Set the reconnect timer, which ends the event if no encoder reconnects within the job's reconnect time."""
        at_ms = by_the_broker(event.at_ms, taken_ms)
        await self._take_in(event, lambda known: ended(known, event.session, at_ms, event.resumed))

    async def is_due(self, event: LiveFinish, name: str, at_ms: int) -> bool:
        """Return whether a timer that fired is still one that must be set. Unavailable."""
        key = timers_key(event.account, event.event)
        stored, job = await self.timers.get(key), await self.jobs.get(key)
        if stored is None or job is None:
            return job is not None  # the gateway decides; without a job there is nothing to end
        return any((timer.name, timer.at_ms) == (name, at_ms) for timer in wanted(stored.value, job.value))

    async def job_changed(self, event: JobStateChanged) -> None:
        """Cancel the timers of an event that has ended, by its job record: this message may be an old one."""
        await self._keep(event.account, event.event)

    async def _take_in(self, message: LiveMessage, change: Change) -> None:
        fresh = EventTimers(account=message.account, event=message.event)

        def how(old: EventTimers | None) -> EventTimers | None:
            return change(old or fresh)

        await self.timers.change(timers_key(message.account, message.event), how)
        await self._keep(message.account, message.event)

    async def _keep(self, account: str, event: str) -> None:
        """Set the timers that must be set; repeat until the record did not change meanwhile, so the newest counts."""
        key = timers_key(account, event)
        for _ in range(MOST_ROUNDS):
            stored = await self.timers.get(key)
            job = await self.jobs.get(key)
            if job is None or job.value.ended:
                await self._forget(account, event, known=stored is not None and not _goes_on(stored.value, job))
                return
            if stored is None:
                return
            must = wanted(stored.value, job.value)
            if must != stored.value.timers:
                try:
                    stored = await self.timers.replace(stored, stored.value.model_copy(update={"timers": must}))
                except Conflict:
                    continue
            await self._set(stored.value)
            after = await self.timers.get(key)
            if after is not None and after.revision == stored.revision:
                return
        raise Conflict(f"the timers of {event} keep changing")

    async def _set(self, timers: EventTimers) -> None:
        due = {timer.name: timer for timer in timers.timers}
        for name in names(timers.event):
            if timer := due.get(name):
                await self.outbox.schedule(name, timer.at_ms, LiveFinish.model_validate(timer.body))
            else:
                await self.outbox.unschedule(timers.account, name)
        log.info("timers.set", live=timers.event, timers={t.name.split("-")[0]: t.at_ms for t in timers.timers})

    async def _forget(self, account: str, event: str, *, known: bool) -> None:
        for name in names(event):
            await self.outbox.unschedule(account, name)
        if known:
            await self.timers.delete(timers_key(account, event))
            log.info("timers.forgotten", live=event)


def _goes_on(timers: EventTimers, job: Stored[JobRecord] | None) -> bool:
    """Return whether a session has started since the job ended: the job may be resumed, by a later message."""
    return job is not None and any(
        span.ended_ms is None and (span.started_ms or 0) >= job.value.changed_ms for span in timers.sessions
    )
