"""The gateway's handlers: what happens to live jobs."""

from __future__ import annotations

from dataclasses import dataclass

from services.gateway.domain.clips.ordered import OrderedClips
from services.gateway.domain.jobs.jobs import Jobs
from shared.messages.live import JobStateChanged, LiveFinish, SessionEnded, SessionStarted


@dataclass(frozen=True, slots=True)
class Handlers:
    """One method per durable consumer."""

    jobs: Jobs
    ordered: OrderedClips

    async def started(self, message: SessionStarted) -> None:
        """Handle `live.session.started`."""
        await self.jobs.started(message)

    async def ended(self, message: SessionEnded) -> None:
        """Handle `live.session.ended`."""
        await self.jobs.ended(message)

    async def job(self, message: JobStateChanged) -> None:
        """Handle `live.job.state_changed`."""
        await self.ordered.settle(message.account, message.event)

    async def finish(self, message: LiveFinish) -> None:
        """Handle `live.finish`."""
        await self.jobs.finish(message)
