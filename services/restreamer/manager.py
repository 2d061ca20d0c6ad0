"""Claims the runs that nobody plays, as many as this instance has room for, and hands them over at shutdown."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from nats.errors import Error as NatsError

from services.restreamer.decide import WANTED
from services.restreamer.holder import Holder, Tools
from services.restreamer.leases import Sights
from services.restreamer.records import is_forgotten, is_left_behind, restream_key
from services.restreamer.resuming import beginning, mark
from services.restreamer.telling import Telling
from shared.broker.kv import Stored
from shared.errors import Unavailable
from shared.messages.restreams import PlayoutRecord, RestreamRecord
from shared.runtime.logging import get_logger
from shared.runtime.tasks import beside

log = get_logger()
LOOK: Final = timedelta(milliseconds=250)
ASK: Final = timedelta(milliseconds=500)
ANSWER: Final = timedelta(seconds=1)
SWEEP: Final = timedelta(seconds=5)
NUMBERS_LEFT_OUT: Final = 10_000


@dataclass(slots=True)
class Manager:
    """Follows the mirrors of both buckets, which call `record_changed` and `playout_changed`."""

    tools: Tools
    sights: Sights
    room: int
    _records: dict[str, RestreamRecord] = field(default_factory=dict)
    _wanted: set[str] = field(default_factory=set)
    _held: dict[str, tuple[Holder, asyncio.Task[None]]] = field(default_factory=dict)
    _waiting: int = 0
    _woken: asyncio.Event = field(default_factory=asyncio.Event)
    _watching: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while there are runs that this instance does not hold: only then it watches for silent holders."""

    def record_changed(self, key: str, record: RestreamRecord | None) -> None:
        """Handle a restream's record; None: it was removed."""
        if record is None:
            self._records.pop(key, None)
        else:
            self._records[key] = record
        if record is not None and record.state in WANTED:
            self._wanted.add(key)
        else:
            self._wanted.discard(key)
        if held := self._held.get(key):
            held[0].follow(record)
        self._woken.set()

    def playout_changed(self, key: str, playout: PlayoutRecord | None) -> None:
        """Handle a playout record."""
        self.sights.seen(key, playout)
        if playout is not None and not playout.holder:
            self._woken.set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Hold runs while the block runs."""
        self.tools.trails.sweep()
        try:
            async with beside(self._take()), beside(self._ask()), beside(self._sweep()):
                yield
        finally:
            await self._hand_over()

    async def _take(self) -> None:
        while True:
            self._woken.clear()
            self._collect()
            free = [k for k in self._wanted if k not in self._held and self.sights.free(k)]
            self._note_room(len(free) + len(self._held) - self.room)
            for key in free[: max(self.room - len(self._held), 0)]:
                with contextlib.suppress(Unavailable):  # also: another was quicker
                    await self._claim(key)
            watching = any(key not in self._held for key in self._wanted)
            if watching:
                self._watching.set()
            else:
                self._watching.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK.total_seconds() if watching else None):
                    await self._woken.wait()

    def _note_room(self, waiting: int) -> None:
        """Log once how many runs have no room here."""
        if waiting > self._waiting:
            log.warning("restream.no_room", room=self.room, waiting=waiting)
        self._waiting = max(waiting, 0)

    async def _claim(self, key: str) -> None:
        """Claim a run by compare-and-set, unless it is no longer free or wanted."""
        stored = await self.tools.playouts.get(key)
        self.sights.seen(key, stored.value if stored else None)
        if not self.sights.free(key) or (record := self._records.get(key)) is None or key not in self._wanted:
            return
        mine = self._mine(record, stored.value if stored else None)
        if stored is None:
            lease = Stored(key, mine, await self.tools.playouts.create(key, mine))
        else:
            lease = await self.tools.playouts.replace(stored, mine)
        own = log.bind(account=record.account, restream=record.restream, run=record.run)
        telling = Telling(self.tools.records.outbox, self.tools.clock, mine.number, record.reached, own)
        holder = Holder(self.tools, record, lease, telling)
        task = asyncio.create_task(holder.run())
        task.add_done_callback(lambda _: self._woken.set())
        self._held[key] = (holder, task)
        holder.follow(self._records.get(key))
        holder.log.info("restream.taken", cursor=mine.cursor.model_dump())

    def _mine(self, record: RestreamRecord, last: PlayoutRecord | None) -> PlayoutRecord:
        me, same = self.tools.me, last if last and last.run == record.run else None
        step = self.tools.trails.last(restream_key(record.account, record.restream)) if same else None
        if same and step and step.continues(same):
            last = same.model_copy(update={"cursor": step.cursor})
        cursor = beginning(record, last, lambda: [mark(self.tools.vault, item.source) for item in record.spec.items])
        return PlayoutRecord(
            account=record.account, restream=record.restream, run=record.run, holder=me.instance, host=me.host,
            pid=me.pid, started=me.started, token=me.token, cursor=cursor, spec_number=record.spec_number,
            moved=same.moved if same else 0,
            played_ms=same.played_ms if same else 0, at_ms=self.tools.clock.now_ms(),
            number=same.number + NUMBERS_LEFT_OUT if same else 0, source=same.source if same else "",
            targets=same.targets if same else (),
        )  # fmt: skip

    def _collect(self) -> None:
        """Drop holders that have ended; the run of one that broke is claimed when its lease is over."""
        for key, (holder, task) in list(self._held.items()):
            if task.done():
                del self._held[key]
                if not task.cancelled() and (error := task.exception()):
                    holder.log.error("restream.holder.broke", exc_info=error)

    async def _ask(self) -> None:
        """Ask the broker repeatedly while watching for silent holders, to know whether silence means anything."""
        while True:
            await self._watching.wait()
            try:
                async with asyncio.timeout(ANSWER.total_seconds()):
                    await self.tools.playouts.get("none.none")
            except (Unavailable, NatsError, TimeoutError):
                self.sights.answering(well=False)
            else:
                self.sights.answering(well=True)
            await asyncio.sleep(ASK.total_seconds())

    async def _sweep(self) -> None:
        """Complete records whose writer died before the steps that follow, and delete those past their retention."""
        while True:
            await asyncio.sleep(SWEEP.total_seconds())
            now_ms = self.tools.clock.now_ms()
            for key, record in list(self._records.items()):
                with contextlib.suppress(Unavailable):
                    if is_left_behind(record, now_ms):
                        log.info("restream.left_behind", account=record.account, restream=record.restream)
                        await self.tools.records.keep(key)
                    elif is_forgotten(record, now_ms):
                        await self.tools.records.forget(key)

    async def _hand_over(self) -> None:
        """Leave every run, so that another instance claims it at once."""
        for holder, _ in self._held.values():
            holder.hand_over()
        await asyncio.gather(*(task for _, task in self._held.values()), return_exceptions=True)
