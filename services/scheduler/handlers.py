"""The scheduler's handlers."""

from __future__ import annotations

from dataclasses import dataclass

from faststream.nats.annotations import NatsMessage

from services.scheduler.due import DueWork
from services.scheduler.keeper import Keeper
from shared.messages.live import JobStateChanged, SessionEnded, SessionStarted
from shared.messages.schedules import Due


@dataclass(frozen=True, slots=True)
class Handlers:
    """One method per durable consumer."""

    keeper: Keeper
    work: DueWork

    async def started(self, event: SessionStarted, message: NatsMessage) -> None:
        """Handle `live.session.started`."""
        await self.keeper.session_started(event, taken_ms(message))

    async def ended(self, event: SessionEnded, message: NatsMessage) -> None:
        """Handle `live.session.ended`."""
        await self.keeper.session_ended(event, taken_ms(message))

    async def job(self, event: JobStateChanged) -> None:
        """Handle `live.job.state_changed`."""
        await self.keeper.job_changed(event)

    async def due(self, due: Due, message: NatsMessage) -> None:
        """Handle `due`."""
        await self.work.fire(due, message.raw_message.metadata.sequence.stream)


def taken_ms(message: NatsMessage) -> int:
    """Return when the broker stored a message, by the broker's clock, ms."""
    return int(message.raw_message.metadata.timestamp.timestamp() * 1000)
