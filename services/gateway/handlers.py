"""The gateway's handlers: what happens to live jobs."""

from __future__ import annotations

from dataclasses import dataclass

from services.gateway.domain.jobs.jobs import Jobs
from shared.messages.live import LiveFinish, SessionEnded, SessionStarted


@dataclass(frozen=True, slots=True)
class Handlers:
    """One method per durable consumer."""

    jobs: Jobs

    async def started(self, message: SessionStarted) -> None:
        """Handle `live.session.started`."""
        await self.jobs.started(message)

    async def ended(self, message: SessionEnded) -> None:
        """Handle `live.session.ended`."""
        await self.jobs.ended(message)

    async def finish(self, message: LiveFinish) -> None:
        """Handle `live.finish`."""
        await self.jobs.finish(message)
