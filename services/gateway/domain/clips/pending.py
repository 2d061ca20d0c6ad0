"""Commands about clips that no clipper has done yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.errors import APIError, NotFoundError

from shared.broker.subjects import channel_of
from shared.errors import Unavailable
from shared.messages.clips import ClipCancel, ClipCreate

QUEUE: Final = channel_of(ClipCreate).stream
MOST: Final = 1000
C = TypeVar("C", ClipCreate, ClipCancel)


class Pending:
    """Reads them. Ask before the records: a command that is gone by then has been written into one."""

    def __init__(self, jetstream: Callable[[], JetStreamContext]) -> None:
        self._jetstream = jetstream

    async def of(self, command: type[C], account: str, clip: str) -> C | None:
        """Read a command that no clipper has done yet."""
        try:
            message = await self._jetstream().get_last_msg(QUEUE, f"{command.channel}.{account}.{clip}")
        except NotFoundError:
            return None
        except (NatsError, APIError, TimeoutError, OSError) as error:
            raise Unavailable(f"commands: {type(error).__name__}") from error
        return command.model_validate_json(message.data or b"")

    async def all_of(self, account: str) -> tuple[list[ClipCreate], set[str]]:
        """Read the commands that no clipper has taken up, at most the first thousand, and whose cancellations wait."""
        named = await self.named(account)
        ids = [clip for channel, clip in named if channel == ClipCreate.channel][:MOST]
        found = await asyncio.gather(*(self.of(ClipCreate, account, clip) for clip in ids))
        cancelling = {clip for channel, clip in named if channel == ClipCancel.channel}
        return [command for command in found if command], cancelling

    async def named(self, account: str) -> list[tuple[str, ...]]:
        """List the commands about an account's clips that wait: channel and clip of each."""
        domain = ClipCreate.channel.partition(".")[0]
        try:
            info = await self._jetstream().stream_info(QUEUE, subjects_filter=f"{domain}.*.{account}.*")
        except (NatsError, APIError, TimeoutError, OSError) as error:
            raise Unavailable(f"commands: {type(error).__name__}") from error
        return [tuple(subject.rsplit(f".{account}.", 1)) for subject in info.state.subjects or {}]
