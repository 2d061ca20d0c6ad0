"""Delivers a file and updates its record; a less exact file never replaces a more exact one."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from services.exporter.destinations.base import Destination
from services.exporter.records import Exports, is_done, note_of, refused, yields
from services.exporter.source import StoredFile, stored_file
from services.exporter.transfer import Pace, Progress, Sending
from services.exporter.workshop import Workshop
from shared.broker.bus import Outbox
from shared.errors import DestinationFailed, NotYet, Permanent, ReelayError, Unavailable
from shared.messages.destinations import DestinationSpec
from shared.messages.exports import (
    ExportAbort,
    ExportAborted,
    ExportDeliver,
    ExportDelivered,
    ExportFailed,
    ExportRecord,
)
from shared.runtime.clock import Clock
from shared.runtime.logging import get_logger
from shared.runtime.tasks import beside, end_task
from shared.store import MediaStore, StoreFull
from shared.store.base import ObjectMissing

log = get_logger()
AWAY: Final = timedelta(seconds=5)
"""After a failure of the store or the broker, which is never the destination's."""
SOON: Final = timedelta(milliseconds=100)
DISCARD: Final = timedelta(seconds=10)  # well within ack_wait: a delivery that was given up sends no heartbeats
OVERTAKE: Final = 3
"""Looks at the record after which every delivery that goes on has noticed a more exact file."""
PARTS: Final = 10
# What the middleware writes before the text of an error.
_KIND: Final = re.compile(r"^(DestinationFailed|ObjectMissing|Permanent|Rejected|SecretUnreadable|StoreFull): ")


@dataclass(frozen=True, slots=True)
class Deliverer:
    """Delivers files through the adapters of their destinations. May be killed at any await, and run twice at once."""

    store: MediaStore
    exports: Exports
    workshop: Workshop
    outbox: Outbox
    clock: Clock
    stopping: Callable[[], bool] = field(default=lambda: False)
    pace: Pace = field(default_factory=Pace)

    async def deliver(self, order: ExportDeliver) -> ExportDelivered | None:
        """Deliver the file to its destination; None when a more exact one is there already, or it is not wanted.

        DestinationFailed when the destination fails, Permanent when the source is gone, NotYet when our own store or
        broker fails or this exporter stops: then this try does not count.
        """
        try:
            return await self._deliver(order)
        except StoreFull:
            raise
        except Unavailable as error:
            raise NotYet(str(error), AWAY) from error

    async def _deliver(self, order: ExportDeliver) -> ExportDelivered | None:
        before = await self.exports.of(order)
        if before and refused(order, before):
            await self._give_way(order, before, note_of(order, before))
            return None
        if before and is_done(order, before) and not await self._has_source(order):
            return self._told(order, before.location)
        destination = await self._make(order)
        file = await self._file(order)
        known = before is not None and before.accuracy == order.accuracy and before.state != "failed"
        location = before.location or _expected(order) if before and known else ""
        if location and await self._holds(order, destination, file):
            return await self._end(order, location)
        record = await self.exports.begin(order)
        if record.overtakes and not refused(order, record):
            record = await self._overtake(order) or record
        if refused(order, record):
            await self._give_way(order, record, note_of(order, record))
            return None
        return await self._transfer(order, destination, file, record)

    async def _overtake(self, order: ExportDeliver) -> ExportRecord | None:
        """Wait until the delivery of a less exact file has noticed this one: its name would be taken last otherwise.

        Not for long: its exporter may have been killed. Return the record as it is then: it may have been aborted.
        """
        now: ExportRecord | None = None
        for _ in range(OVERTAKE * PARTS):
            if self.stopping():
                raise NotYet("the exporter is stopping", SOON)
            await asyncio.sleep(self.pace.look.total_seconds() / PARTS)
            now = await self.exports.of(order)
            if now is None or not now.overtakes or refused(order, now):
                break
        return now

    async def _transfer(
        self, order: ExportDeliver, destination: Destination, file: StoredFile, record: ExportRecord
    ) -> ExportDelivered | None:
        progress = Progress(self.exports, self.outbox, order, record, self.pace)
        try:
            location = await self._send(destination, file, progress)
        except ObjectMissing:  # of a fast file: deleted since the exact one was delivered
            now = await self.exports.of(order)
            if now is None or not refused(order, now):
                raise
            location = None
        if location is None:
            await self._give_way(order, await self.exports.of(order) or record, progress.resume)
            return None
        await progress.start()
        return await self._end(order, location)

    async def _send(self, destination: Destination, file: StoredFile, transfer: Sending) -> str | None:
        """Put the file, and return its location; None when it is no longer wanted."""
        task = asyncio.create_task(destination.put(file, transfer))
        try:
            async with beside(transfer.reporting()):
                while not (await asyncio.wait({task}, timeout=self.pace.look.total_seconds()))[0]:
                    if transfer.dropped:
                        return None
                    if self.stopping():
                        raise NotYet("the exporter is stopping", SOON)
                    if transfer.stands(self.pace.patience):
                        waited = int(self.pace.patience.total_seconds())
                        raise DestinationFailed(f"the destination has taken nothing for {waited} s")
            return task.result()
        finally:
            await end_task(task)
            if not task.cancelled():
                task.exception()  # of one that was stopped: nobody asks for it

    async def _holds(self, order: ExportDeliver, destination: Destination, file: StoredFile) -> bool | None:
        """Return whether the destination has a file that is still wanted there; None when it does not say."""
        task = asyncio.create_task(destination.holds(file))
        looks = int(self.pace.answer / self.pace.look)
        try:
            for _ in range(looks):
                if (await asyncio.wait({task}, timeout=self.pace.look.total_seconds()))[0]:
                    return task.result()
                if self.stopping():
                    raise NotYet("the exporter is stopping", SOON)
                with contextlib.suppress(Unavailable):
                    now = await self.exports.of(order)
                    if now and refused(order, now):
                        return False
        finally:
            await end_task(task)
            if not task.cancelled():
                task.exception()
        return None

    async def _end(self, order: ExportDeliver, location: str) -> ExportDelivered | None:
        record = await self.exports.delivered(order, location)
        if yields(order, record):
            await self._give_way(order, record, "")
            return None
        return self._told(order, location)

    async def _give_way(self, order: ExportDeliver, now: ExportRecord, note: str) -> None:
        """Remove what this delivery left, and put a more exact file back that it may have replaced.

        NotYet while the destination cannot remove it; after a time it stays there.
        """
        left = bool(note) and await self._discard(order, note)
        if now.overtakes:  # not before: what the exact file would find there goes
            await self.exports.stepped_aside(order)
        await self._put_right(order, now)
        if left and self._silent(now) < self.pace.clear:
            raise NotYet("what is left at the destination cannot be removed now", self._until_better(now))
        if left:
            await self.exports.forget(order)

    async def _put_right(self, order: ExportDeliver, now: ExportRecord) -> None:
        """Put a more exact file back where this one has replaced it.

        The delivery of the exact file writes its record first, so one of the two deliveries sees the other. While it
        goes on it is left alone, NotYet: two puts of one file would share a temporary name. A file that is no longer
        there was deleted, and stays deleted.
        """
        if not yields(order, now) or now.state == "aborted" or not now.source_key:
            return
        if now.state == "delivering":
            raise NotYet("a more exact file is being delivered", self._until_better(now))
        better = order.model_copy(
            update={"accuracy": now.accuracy, "source_key": now.source_key, "bytes": now.bytes, "sha256": None}
        )
        destination = await self._make(better)
        mine = StoredFile(self.store, order.source_key, order.bytes, order.sha256 or "", order.content_type)
        held = await self._holds(better, destination, mine)
        if held is None:
            raise DestinationFailed("the destination does not tell what it has")
        if held:
            with contextlib.suppress(ObjectMissing):
                await self._send(destination, await self._file(better), Sending(self.clock))

    def _silent(self, now: ExportRecord) -> timedelta:
        return timedelta(milliseconds=self.clock.now_ms() - now.changed_ms)

    def _until_better(self, now: ExportRecord) -> timedelta:
        """Return when to look again at another delivery: the later, the longer it has told nothing."""
        return min(max(self.pace.look, self._silent(now) / 4), self.pace.rarely)

    async def _discard(self, order: ExportDeliver, note: str) -> bool:
        """Remove what an unfinished put has left at its destination; return whether only a later try could do it."""
        later = False
        try:
            async with asyncio.timeout(DISCARD.total_seconds()):
                await (await self._make(order)).discard(Sending(self.clock, note))
        except (ReelayError, TimeoutError, OSError) as error:
            log.warning("export.left", export=order.export, error=str(error))
            final = isinstance(error, DestinationFailed) and error.final
            later = not (final or isinstance(error, Permanent))
        if not later:
            await self.exports.forget(order)
        return later

    async def abort(self, order: ExportAbort) -> ExportAborted | None:
        """Stop an export that has not ended; its delivery notices. None when it has ended."""
        record = await self.exports.abort(order)
        if record is None or record.state != "aborted":
            return None
        return ExportAborted(
            account=order.account, export=order.export, clip=order.clip, accuracy=record.accuracy,
            at_ms=self.clock.now_ms(),
        )  # fmt: skip

    async def fail(self, order: ExportDeliver, reason: str) -> ExportFailed | None:
        """Record that the delivery was given up, and return the event; None when it was aborted or is done."""
        reason = _KIND.sub("", reason)[:1024]
        record = await self.exports.failed(order, reason)
        if record and (note := note_of(order, record)) and await self._discard(order, note):
            await self.exports.forget(order)  # nobody comes again
        if record and (record.state == "aborted" or is_done(order, record)):
            return None
        return ExportFailed(
            account=order.account, export=order.export, clip=order.clip, accuracy=order.accuracy,
            error=reason, at_ms=self.clock.now_ms(),
        )  # fmt: skip

    async def _make(self, order: ExportDeliver) -> Destination:
        return await self.workshop.make(order.account, order.destination, order.accuracy)

    async def _file(self, order: ExportDeliver) -> StoredFile:
        return await stored_file(
            self.store, order.source_key, sha256=order.sha256 or "", size=order.bytes, content_type=order.content_type
        )

    async def _has_source(self, order: ExportDeliver) -> bool:
        return await asyncio.to_thread(self.store.info, order.source_key) is not None

    def _told(self, order: ExportDeliver, location: str) -> ExportDelivered:
        return ExportDelivered(
            account=order.account, export=order.export, clip=order.clip, accuracy=order.accuracy,
            location=location, bytes=order.bytes, at_ms=self.clock.now_ms(),
        )  # fmt: skip


def _expected(order: ExportDeliver) -> str:
    """Return the location of a file whose exporter was killed before it could record it.

    Empty where the order does not tell it: then the put goes on from its note, and tells it.
    """
    spec: DestinationSpec = order.destination
    if spec.type == "library":
        return f"library/{order.account}/{spec.file_name}"
    if "://" not in spec.shown:  # an account, in which the destination chooses the name
        return ""
    return f"{spec.shown}{spec.file_name}" if spec.shown.endswith("/") else spec.shown
