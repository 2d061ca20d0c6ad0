"""Commands about restreams that no restreamer has applied yet, and the state that they lead to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from nats.js import JetStreamContext

from services.gateway.domain.commands import WaitingCommands
from shared.messages.restream_commands import RestreamCommand
from shared.messages.restreams import RestreamRecord, State

OVER: Final[frozenset[State]] = frozenset({"stopped", "ended", "failed"})
MOST_OF_ONE: Final = 64
AT_ONCE: Final = 100


class Pending:
    """Reads the pending commands."""

    def __init__(self, jetstream: Callable[[], JetStreamContext]) -> None:
        self._queue = WaitingCommands(jetstream, RestreamCommand)

    async def of(self, account: str, restream: str, most: int = MOST_OF_ONE) -> list[RestreamCommand]:
        """Return up to `most` pending commands about one restream, in order. Raise Unavailable."""
        return await self._queue.all_about(RestreamCommand, account, restream, most)

    async def named(self, account: str) -> frozenset[str]:
        """Return the restreams of an account that have pending commands. Raise Unavailable."""
        return frozenset(await self._counts(account))

    async def _counts(self, account: str) -> dict[str, int]:
        prefix = f"{RestreamCommand.channel}.{account}."
        return {s.removeprefix(prefix): count for s, count in (await self._queue.counts(f"{prefix}*")).items()}

    async def all_of(self, account: str) -> dict[str, list[RestreamCommand]]:
        """Return the pending commands about an account's restreams, in order, by restream. Raise Unavailable."""
        waiting = list((await self._counts(account)).items())
        found: dict[str, list[RestreamCommand]] = {}
        for first in range(0, len(waiting), AT_ONCE):
            some = waiting[first : first + AT_ONCE]
            read = await asyncio.gather(*(self.of(account, restream, count) for restream, count in some))
            found |= {restream: commands for (restream, _), commands in zip(some, read, strict=True)}
        return found


def foreseen(record: RestreamRecord | None, pending: Iterable[RestreamCommand]) -> RestreamRecord | None:
    """Return the record that a pending start, or resume with a list, will lead to; None for an unknown restream."""
    for command in pending:
        if record is not None and (command.command in record.commands or command.at_ms <= record.changed_ms):
            continue
        spec, over = command.spec, record is None or record.state in OVER
        if spec is None or not (command.verb == "start" or (command.verb == "resume" and over)):
            continue
        later = (spec.start_ms or 0) > command.at_ms
        record = RestreamRecord(
            account=command.account,
            restream=command.restream,
            run=record.run + 1 if record else 1,
            spec=spec,
            state="scheduled" if later else "starting",
            created_ms=record.created_ms if record else command.at_ms,
            changed_ms=command.at_ms,
        )
    return record
