"""Commands about clips that no clipper has handled yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

from nats.js import JetStreamContext

from services.gateway.domain.commands import WaitingCommands
from shared.messages.clips import ClipCancel, ClipCreate

MOST: Final = 1000
C = TypeVar("C", ClipCreate, ClipCancel)


class Pending:
    """Reads the waiting commands about clips."""

    def __init__(self, jetstream: Callable[[], JetStreamContext]) -> None:
        self._queue = WaitingCommands(jetstream, ClipCreate)

    async def of(self, command: type[C], account: str, clip: str) -> C | None:
        """Return the waiting command of a kind about a clip; None without one."""
        return await self._queue.last(command, account, clip)

    async def all_of(self, account: str) -> tuple[list[ClipCreate], set[str]]:
        """Return up to MOST commands that no clipper has taken up, and the clips whose cancellations wait."""
        named = await self.named(account)
        ids = [clip for channel, clip in named if channel == ClipCreate.channel][:MOST]
        found = await asyncio.gather(*(self.of(ClipCreate, account, clip) for clip in ids))
        cancelling = {clip for channel, clip in named if channel == ClipCancel.channel}
        return [command for command in found if command], cancelling

    async def named(self, account: str) -> list[tuple[str, ...]]:
        """Return channel and clip of each waiting command about an account's clips."""
        domain = ClipCreate.channel.partition(".")[0]
        subjects = await self._queue.counts(f"{domain}.*.{account}.*")
        return [tuple(subject.rsplit(f".{account}.", 1)) for subject in subjects]
