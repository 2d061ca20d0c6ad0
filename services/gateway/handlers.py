"""The gateway's handlers: what happens to live jobs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from services.gateway.domain.jobs.jobs import Jobs
from shared.messages.live import LiveFinish, SessionEnded, SessionStarted


def make_started(jobs: Jobs) -> Callable[[SessionStarted], Awaitable[None]]:
    """Make the handler of `live.session.started`."""

    async def started(message: SessionStarted) -> None:
        await jobs.started(message)

    return started


def make_ended(jobs: Jobs) -> Callable[[SessionEnded], Awaitable[None]]:
    """Make the handler of `live.session.ended`."""

    async def ended(message: SessionEnded) -> None:
        await jobs.ended(message)

    return ended


def make_finish(jobs: Jobs) -> Callable[[LiveFinish], Awaitable[None]]:
    """Make the handler of `live.finish`."""

    async def finish(message: LiveFinish) -> None:
        await jobs.finish(message)

    return finish
