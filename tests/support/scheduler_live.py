"""A scheduler, with jobs as a gateway writes them."""

from __future__ import annotations

import json
import time
import uuid

from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from shared.broker.kv import Bucket
from shared.broker.streams import SCHEDULES, commands_of
from shared.broker.subjects import schedule_subject
from shared.messages.jobs import JobRecord
from shared.messages.live import JobState, JobStateChanged, LiveFinish, SessionEnded, SessionStarted
from shared.messages.schedules import EventTimers
from tests.support.webhook_stack import Desk, eventually


def now() -> int:
    return time.time_ns() // 1_000_000


class Live(Desk):
    """A live event of a desk's account, published as by gateway and ingester."""

    def __init__(self, of: Desk) -> None:
        super().__init__(of.js, of.account)
        self.event, self.first, self.second = (uuid.uuid4().hex for _ in range(3))
        self.jobs = Bucket(lambda: self.js, "events", JobRecord)
        self.timers = Bucket(lambda: self.js, "schedules", EventTimers)

    async def job(self, state: JobState = "standby", reconnect: int = 1, length: int = 0) -> None:
        job = JobRecord(
            account=self.account, event=self.event, state=state, created_ms=1, changed_ms=1,
            reconnect_time_s=reconnect, event_length_s=length, stream_key="-", passphrase="-",
        )  # fmt: skip
        await self.jobs.change(f"{self.account}.{self.event}", lambda _: job)

    def started(self, session: str, at_ms: int) -> SessionStarted:
        return SessionStarted(
            account=self.account, event=self.event, session=session, protocol="rtmp", at_ms=at_ms, origin_ms=0
        )

    def ended(self, session: str, at_ms: int) -> SessionEnded:
        return SessionEnded(
            account=self.account, event=self.event, session=session, at_ms=at_ms, reason="disconnected",
            segments=1, bytes=1,
        )  # fmt: skip

    async def tell(self, *messages: SessionStarted | SessionEnded | JobStateChanged) -> None:
        """Publish each twice, and wait until the scheduler has handled them."""
        for message in messages:
            await self.publish(message)
            await self.publish(message, again=True)

        async def idle() -> bool:
            durables = ("scheduler-started", "scheduler-ended", "scheduler-jobs")
            return sum([await self.waiting(d) for d in durables]) == 0

        await eventually(idle)

    async def set_for(self, name: str) -> int | None:
        """Return when a schedule is due, as stored in the broker; None if there is none."""
        try:
            found = await self.js.get_last_msg(SCHEDULES, schedule_subject(self.account, name))
        except NotFoundError:
            return None
        return int(json.loads(found.data or b"")["at_ms"])

    async def finishes(self, number: int, within: float = 15) -> list[LiveFinish]:
        """Wait for `number` messages `live.finish` of this event; return all that are there."""
        subject = f"live.finish.{self.account}.{self.event}"
        found: list[LiveFinish] = []

        async def enough() -> bool:
            found[:] = [LiveFinish.model_validate(m) for m in await stored(self.js, commands_of("gateway"), subject)]
            return len(found) >= number

        await eventually(enough, within)
        return found


async def stored(js: JetStreamContext, stream: str, subject: str) -> list[dict[str, object]]:
    """Return the messages of a subject."""
    found = []
    sequence = 0
    while True:
        try:
            message = await js.get_msg(stream, seq=sequence + 1, next=True, subject=subject)
        except NotFoundError:
            return found
        sequence = message.seq or 0
        found.append(json.loads(message.data or b"{}"))
