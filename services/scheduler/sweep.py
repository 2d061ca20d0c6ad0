"""The recordings' hourly sweep: one chain of schedules for any number of instances and starts.

There is one chain because there is one subject: setting the next tick replaces the one that is set. It is set before
the current one is published, so that a process that dies in between breaks nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.errors import APIError, NotFoundError

from shared.broker.bus import Outbox
from shared.broker.streams import SCHEDULES
from shared.broker.subjects import schedule_subject
from shared.errors import Unavailable
from shared.messages.media import RecordingsSweep
from shared.messages.schedules import Due
from shared.runtime.clock import Clock
from shared.runtime.logging import get_logger

log = get_logger()
ACCOUNT: Final = "system"
NAME: Final = "recordings-sweep"
HOURLY: Final = timedelta(hours=1)


@dataclass(slots=True)
class Sweep:
    """Sets the sweep's ticks, at whole multiples of `every` since the epoch."""

    outbox: Outbox
    jetstream: Callable[[], JetStreamContext]
    clock: Clock
    every: timedelta = HOURLY

    def is_tick(self, due: Due) -> bool:
        """Return whether a schedule is the sweep's."""
        return (due.account, due.name) == (ACCOUNT, NAME)

    async def set_next(self, after_ms: int = 0) -> None:
        """Set the next tick: later than now, and than `after_ms` where the broker's clock is ahead. Unavailable."""
        step = self.every // timedelta(milliseconds=1)
        tick = (max(self.clock.now_ms(), after_ms) // step + 1) * step
        await self.outbox.schedule(NAME, tick, RecordingsSweep(account=ACCOUNT, tick_ms=tick))

    @contextlib.asynccontextmanager
    async def begun(self) -> AsyncIterator[None]:
        """Start the chain unless it runs."""
        if not await self._is_set():
            await self.set_next()
            log.info("sweep.begun")
        yield

    async def _is_set(self) -> bool:
        try:
            await self.jetstream().get_last_msg(SCHEDULES, schedule_subject(ACCOUNT, NAME))
        except NotFoundError:
            return False
        except (NatsError, APIError, TimeoutError, OSError) as error:
            raise Unavailable("the schedules can't be read") from error
        return True
