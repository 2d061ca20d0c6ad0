"""Publishes the commands of schedules that are due."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.errors import APIError

from services.scheduler.keeper import Keeper
from services.scheduler.sweep import Sweep
from services.scheduler.timers import names
from shared.broker.bus import Outbox
from shared.broker.streams import SCHEDULES
from shared.broker.subjects import BY_NAME
from shared.errors import Permanent
from shared.messages.base import Message
from shared.messages.live import LiveFinish
from shared.messages.schedules import Due
from shared.runtime.logging import get_logger

log = get_logger()


def command_of(due: Due) -> Message:
    """Return the command that is due; Permanent when it is none, not the scheduler's, or another account's."""
    channel = BY_NAME.get(due.target)
    if channel is None or channel.kind != "command" or "scheduler" not in channel.publishers:
        raise Permanent(f"{due.target} is no command that the scheduler publishes")
    command = channel.model.model_validate(due.body)
    if command.account != due.account:
        raise Permanent(f"schedule {due.name} of {due.account} holds a command of {command.account}")
    return command


@dataclass(slots=True)
class DueWork:
    """Publishes commands that are due. Their ids are deterministic, so a duplicate is dropped or harmless."""

    outbox: Outbox
    sweep: Sweep
    jetstream: Callable[[], JetStreamContext]
    keeper: Keeper

    async def fire(self, due: Due, sequence: int) -> None:
        """Publish the command, then remove the due message (`sequence`) from its stream. Unavailable.

        A live event's timer that was moved or cancelled while it fired publishes nothing.
        """
        command = command_of(due)
        if not await self._is_wanted(due, command):
            log.info("schedule.void", name=due.name, target=due.target)
            await self._remove(sequence)
            return
        if self.sweep.is_tick(due):
            await self.sweep.set_next(due.at_ms)
        await self.outbox.emit(command)
        log.info("schedule.due", name=due.name, target=due.target)
        await self._remove(sequence)

    async def _is_wanted(self, due: Due, command: Message) -> bool:
        if not isinstance(command, LiveFinish) or due.name not in names(command.event):
            return True
        return await self.keeper.is_due(command, due.name, due.at_ms)

    async def _remove(self, sequence: int) -> None:
        # The stream keeps the last message of each name for ever; one that an error leaves only takes up space.
        with contextlib.suppress(NatsError, APIError, TimeoutError):
            await self.jetstream().delete_msg(SCHEDULES, sequence)
