"""One delivery on its way: how far it is, what is kept of it, and whether it is still wanted."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from services.exporter.records import Exports, refused
from shared.broker.bus import Outbox
from shared.errors import Unavailable
from shared.messages.exports import ExportDeliver, ExportProgressed, ExportRecord, ExportStarted
from shared.runtime.clock import Clock, to_ns

LONGEST_NOTE: Final = 4096


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a delivery is looked at, recorded and told, and how long it may stand still."""

    look: timedelta = timedelta(seconds=1)
    record: timedelta = timedelta(seconds=2)
    tell: timedelta = timedelta(seconds=5)
    patience: timedelta = timedelta(seconds=60)
    answer: timedelta = timedelta(seconds=120)
    """How long a destination may take to say what it has."""
    outage: timedelta = timedelta(seconds=60)
    """How long a note waits for a broker that is away."""
    clear: timedelta = timedelta(hours=1)
    """How long it is tried to remove what a delivery that is not wanted any more has left."""
    rarely: timedelta = timedelta(seconds=60)
    """How often at least one delivery looks whether another has ended that it waits for."""


class Sending:
    """A Transfer that nothing is recorded of."""

    def __init__(self, clock: Clock, resume: str = "") -> None:
        self.resume = resume
        self.total = 0
        self.dropped = False
        self._clock = clock
        self._touched = clock.monotonic_ns()

    async def sent(self, total: int) -> None:
        """Tell that the destination has taken `total` bytes in all."""
        self.total = total
        self._touched = self._clock.monotonic_ns()

    async def keep(self, resume: str) -> None:
        """Remember what a later try needs, for as long as this one lasts."""
        self.resume = resume
        self._touched = self._clock.monotonic_ns()

    def stands(self, patience: timedelta) -> bool:
        """Return whether nothing has been told for so long."""
        return self._clock.monotonic_ns() - self._touched > to_ns(patience)

    async def reporting(self) -> None:
        """Do nothing."""


class Progress(Sending):
    """A Transfer whose progress is recorded and told, and which is dropped when its export is aborted or overtaken.

    While the broker is away it goes on, and catches up afterwards.
    """

    def __init__(
        self, exports: Exports, outbox: Outbox, order: ExportDeliver, record: ExportRecord, pace: Pace
    ) -> None:
        super().__init__(exports.clock, record.resume)
        self.total = record.sent
        self._exports = exports
        self._outbox = outbox
        self._order = order
        self._pace = pace
        self._started = record.sent > 0
        self._recorded = self._told = record.sent
        self._recorded_ns = self._told_ns = self._clock.monotonic_ns()

    async def keep(self, resume: str) -> None:
        """Store what a later try needs; raise Unavailable when the broker stays away."""
        if len(resume.encode()) > LONGEST_NOTE:
            msg = f"a note has at most {LONGEST_NOTE} bytes"
            raise ValueError(msg)
        deadline = self._clock.monotonic_ns() + to_ns(self._pace.outage)
        await super().keep(resume)
        while True:
            try:
                await self._exports.note(self._order, self.total, resume)
                break
            except Unavailable:
                if self._clock.monotonic_ns() > deadline:
                    raise
                await super().keep(resume)
                await asyncio.sleep(self._pace.look.total_seconds())
        await super().keep(resume)

    async def reporting(self) -> None:
        """Look at the record and tell how far the delivery is, for ever."""
        while True:
            await asyncio.sleep(self._pace.look.total_seconds())
            with contextlib.suppress(Unavailable):
                await self._report()

    async def start(self) -> None:
        """Tell, once, that bytes are on their way."""
        if not self._started:
            await self._outbox.emit(ExportStarted(**self._common(), bytes=self._order.bytes))
            self._started = True

    async def _report(self) -> None:
        record = await self._exports.of(self._order)
        if record is not None and refused(self._order, record):
            self.dropped = True
            return
        total, now = self.total, self._clock.monotonic_ns()
        if total > 0:
            await self.start()
        if total != self._recorded and now - self._recorded_ns >= to_ns(self._pace.record):
            await self._exports.note(self._order, total, self.resume)
            self._recorded, self._recorded_ns = total, now
        if total != self._told and now - self._told_ns >= to_ns(self._pace.tell):
            await self._outbox.emit(ExportProgressed(**self._common(), sent=total, bytes=self._order.bytes))
            self._told, self._told_ns = total, now

    def _common(self) -> dict[str, object]:
        order = self._order
        return {
            "account": order.account, "export": order.export, "clip": order.clip, "accuracy": order.accuracy,
            "at_ms": self._clock.now_ms(),
        }  # fmt: skip
