"""The two steps of a clip: the fast file, then the exact one. Each may run again after a kill."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Final

from services.clipper.cutter import ClipCutter, Made
from services.clipper.cutting import MixedConfigs
from services.clipper.edits.materials import Materials
from services.clipper.footage import Footage
from services.clipper.images.work import GIVEN_UP, ImageWork
from services.clipper.leftovers import sweep
from services.clipper.progressing import Progressing
from services.clipper.recording_reader import RecordingReader
from services.clipper.records import Clips
from services.clipper.state import (
    ENDED,
    ExportEnd,
    all_ended,
    deliveries,
    entering,
    file_key,
    lacks,
    outcome,
    ready_event,
    with_delivery,
    with_file,
)
from services.clipper.waiting import Waiting
from services.clipper.watching import Watching
from shared.broker.bus import Outbox
from shared.errors import MediaError, NotYet, Permanent, ReelayError, Rejected
from shared.messages.base import Accuracy
from shared.messages.clips import (
    ClipCancel,
    ClipCopyLong,
    ClipCreate,
    ClipPicture,
    ClipRecord,
    ClipRefine,
    ClipRefineLong,
)
from shared.messages.exports import ExportAbort, ExportStarted
from shared.messages.images import ClipImage
from shared.runtime.logging import get_logger
from shared.store.base import ObjectMissing
from shared.store.reserve import Reserve

log = get_logger()
# A clip's message is delivered again about 20 s after its clipper was killed; a file that another clipper still writes
# changed more recently than this.
UNTOUCHED: Final = timedelta(seconds=10)
# A clip whose end is further away than this waits by a schedule, which the job's end brings forward.
AWAY: Final = timedelta(seconds=2)
SOON: Final = timedelta(seconds=1)
# How long a cancellation is retried when its clip never appears.
LOST: Final = timedelta(days=2)
# Clips that are cut from more bytes go behind other long ones: short ones do not wait for them (ADR 11).
LONG: Final = 128 << 20


class _TakesLong(ReelayError):  # noqa: N818  it names what to do, not a thing
    """The file is to be made behind other long ones."""


@dataclass(frozen=True, slots=True)
class ClipWork:
    """What the clipper does with each message."""

    clips: Clips
    source: RecordingReader
    cutter: ClipCutter
    outbox: Outbox
    reserve: Reserve
    images: ImageWork
    materials: Materials

    @property
    def waiting(self) -> Waiting:
        """What becomes of clips that wait for their job."""
        return Waiting(self.clips, self.source, self.outbox)

    async def create(self, order: ClipCreate) -> None:
        """Make the fast file and order the exact one; schedule the clip for later when its end lies in the future."""
        if order.instant:  # the gateway plays it from the segments
            record = await self.clips.begin(order, "processing")
            await self._change(record, entering("finished", self.clips.clock.now_ms()))
            return
        due = await self._due(order)
        if due is None:
            return
        record = await self._change(due, entering("processing", self.clips.clock.now_ms()))
        try:
            await self._copy(record, LONG)
        except _TakesLong:
            await self.outbox.emit(ClipCopyLong(account=record.account, clip=record.clip))

    async def copy_long(self, order: ClipCopyLong) -> None:
        """Make the fast file of a long clip and order the exact one."""
        await self._copy(await self.clips.get(order.account, order.clip))

    async def _copy(self, record: ClipRecord, most: int | None = None) -> None:
        order = record.request
        if record.file is None and not (order.ranges or order.edit):  # whole segments would show what nobody wants
            record = await self._take(record, "segment", most)
        if record.state in ENDED:
            return
        if record.file is not None:
            await self._announce(record)
        await self.outbox.emit(ClipRefine(account=record.account, clip=record.clip))

    async def _due(self, order: ClipCreate) -> ClipRecord | None:
        """Return the record of a clip that is to be cut now; None when it waits, or has ended. NotYet."""
        if await self.waiting.is_held(order):
            return None
        delay = await self.source.until_over(order)
        if await self.waiting.is_dropped(order):
            return None
        record = await self.clips.begin(order, "waiting" if delay else "processing")
        if record.state in ENDED:
            return None
        if delay > AWAY:
            at_ms = self.clips.clock.now_ms() + int(delay.total_seconds() * 1000)
            await self.waiting.put_off(order, at_ms)
            delay = await self.source.until_over(order)
            if delay or await self.waiting.is_dropped(order):
                return None  # otherwise its job ended before the record could say that this clip waits for it
        if delay:
            raise NotYet("the end of the clip lies in the future", delay)
        return record

    async def refine(self, order: ClipRefine) -> None:
        """Make the exact file, which replaces the fast one; order it where that takes long."""
        record = await self.clips.get(order.account, order.clip)
        try:
            await self._refine(record, 0 if record.request.edit else LONG)  # every picture of an edit is encoded
        except _TakesLong:
            await self.outbox.emit(ClipRefineLong(account=record.account, clip=record.clip))

    async def refine_long(self, order: ClipRefineLong) -> None:
        """Make the exact file of a clip that takes long."""
        await self._refine(await self.clips.get(order.account, order.clip))

    async def _refine(self, record: ClipRecord, most: int | None = None) -> None:
        if record.state in ENDED:
            return
        if record.file is None or record.file.accuracy != "frame":
            record = await self._take(record, "frame", most)
        if record.state in ENDED:
            return
        if record.request.images:  # before the announcement, by which the clip may end: then nobody comes here again
            await self.outbox.emit(ClipPicture(account=record.account, clip=record.clip))
        await self._announce(record)

    async def picture(self, order: ClipPicture) -> None:
        """Make the images, from the exact file, which is delivered meanwhile."""
        await self.images.make(await self.clips.get(order.account, order.clip), self._watched_image)

    async def cancel(self, order: ClipCancel) -> None:
        """Cancel a clip at any stage; a running cut notices within a second."""
        stored = await self.clips.bucket.get(f"{order.account}.{order.clip}")
        if stored is None:
            waited = timedelta(milliseconds=self.clips.clock.now_ms() - order.at_ms)
            if waited > LOST:
                raise Permanent("there is no such clip")
            raise NotYet("the clip has not been begun", max(SOON, waited / 4))
        await self.outbox.unschedule(order.account, f"clip-{order.clip}")
        await self._change(stored.value, entering("cancelled", self.clips.clock.now_ms()))
        for one in stored.value.request.destinations:
            await self.outbox.emit(
                ExportAbort(account=order.account, export=one.export, clip=order.clip, at_ms=order.at_ms)
            )

    async def sending(self, event: ExportStarted) -> None:
        """Record that a destination is taking a file."""
        await self.clips.change(event.account, event.clip, with_delivery(event))

    async def export_ended(self, event: ExportEnd) -> None:
        """Record what became of one delivery; the last one ends the clip, and its fast file goes.

        It stays where there is no exact one, of a clip that was cancelled before: it can be downloaded still.
        """
        record = await self.clips.change(event.account, event.clip, with_delivery(event))
        if end := outcome(record):
            state, reason = end
            record = await self._change(record, entering(state, self.clips.clock.now_ms(), reason))
        if all_ended(record) and record.state in ENDED and record.file and record.file.accuracy == "frame":
            await asyncio.to_thread(self.cutter.store.delete, file_key(record, "segment"))

    async def fail(self, account: str, clip: str, reason: str) -> None:
        """Mark the clip as failed for a reason, and log it."""
        log.warning("clip.failed", clip=clip, reason=reason)
        await self.clips.change(account, clip, entering("failed", self.clips.clock.now_ms(), reason))

    async def _change(self, record: ClipRecord, change: Callable[[ClipRecord], ClipRecord | None]) -> ClipRecord:
        return await self.clips.change(record.account, record.clip, change)

    async def _take(self, record: ClipRecord, accuracy: Accuracy, most: int | None) -> ClipRecord:
        """Cut a file and add it to the record. Without one, the clip has ended, or only an exact cut is possible.

        _TakesLong where it is cut from more than `most` bytes.
        """
        made = await self._make(record, accuracy, most)
        if made is None:
            return await self.clips.get(record.account, record.clip)
        try:
            now = await self.clips.get(record.account, record.clip)
            if lacks(now, accuracy):  # not if another clipper made it, while the broker did not hear this one
                await asyncio.to_thread(self.cutter.publish, made)
                now = await self._published(now, made)
        finally:
            await asyncio.to_thread(self.cutter.discard, made)
        return now

    async def _published(self, record: ClipRecord, made: Made) -> ClipRecord:
        """Add a file to the record; remove it when the clip has ended without it meanwhile."""
        key = made.file.key
        try:
            record = await self._change(record, with_file(made.file, made.gaps, self.clips.clock.now_ms()))
        except Permanent:  # it was deleted
            await asyncio.to_thread(self.cutter.store.delete, key)
            raise
        if record.state in ENDED and (record.file is None or record.file.key != key):
            await asyncio.to_thread(self.cutter.store.delete, key)
        return record

    async def _make(self, record: ClipRecord, accuracy: Accuracy, most: int | None) -> Made | None:
        try:
            footage = await self._load(record, accuracy)
            if most is not None and footage.bytes > most:
                raise _TakesLong
            asked = record.request
            # The clear draft; pictures to be joined; segments that are fetched to this disk.
            copies = 1 + bool(asked.encryption) + bool(asked.edit) + self.cutter.store.fetches
            self.reserve.require(copies * footage.bytes)
            return await self._cut(record, accuracy, footage)
        except MixedConfigs:
            if accuracy == "frame":
                raise
            return None
        except (Rejected, MediaError) as error:
            await self.fail(record.account, record.clip, str(error))
            return None
        except ObjectMissing as error:
            await self.fail(record.account, record.clip, f"a part of the recording has been lost: {error}")
            return None

    async def _load(self, record: ClipRecord, accuracy: Accuracy) -> Footage:
        return await self.source.load(record.request, complete=accuracy == "frame", since_ms=record.changed_ms)

    async def _cut(self, record: ClipRecord, accuracy: Accuracy, footage: Footage) -> Made | None:
        """Cut a file; NotYet when a part of the recording expired meanwhile. A part that is lost for good is a gap."""
        cutter = self.cutter.encrypting(record.request.encryption)
        cut = cutter.fast if accuracy == "segment" else cutter.exact
        if accuracy == "frame" and (edit := await self.materials.edit(record)) is not None:
            cut = partial(cutter.exact, edit=edit)
        key = file_key(record, accuracy)
        now_ms = self.clips.clock.now_ms()
        await asyncio.to_thread(sweep, self.cutter.store, key.rpartition("/")[0], now_ms, older=UNTOUCHED)
        try:
            made = await self._watched_cut(record, lambda stop: cut(footage, key, stop), accuracy)
        except ObjectMissing as error:
            if not footage.keys <= (await self._load(record, accuracy)).keys:
                raise NotYet("a part of the recording has expired", SOON) from error
            again = partial(cut, footage, key, lost=True)
            made = await self._watched_cut(record, lambda stop: again(stop=stop), accuracy)
        return replace(made, gaps=footage.missing(made.ranges, made.gaps)) if made else None

    async def _watched_image(
        self, record: ClipRecord, work: Callable[[threading.Event], ClipImage]
    ) -> ClipImage | None:
        def halted() -> None:
            if self.images.stopping():
                raise NotYet("the clipper is stopping", SOON)

        return await Watching(self.clips).run(record, work, ends=GIVEN_UP, halted=halted)

    async def _watched_cut(
        self, record: ClipRecord, cut: Callable[[threading.Event], Made], accuracy: Accuracy
    ) -> Made | None:
        """Run a cut; StoreFull when it, or what else is written meanwhile, takes the disk's last room."""
        return await Watching(self.clips).run(
            record, cut, halted=lambda: self.reserve.require(0), told=Progressing(self.clips, record, accuracy),
            dropped=self.cutter.discard,
        )  # fmt: skip

    async def _announce(self, record: ClipRecord) -> None:
        if record.file is None:
            raise Permanent("a clip without a file cannot be announced")
        await self.outbox.emit(ready_event(record))
        for order in deliveries(record, record.file):
            await self.outbox.emit(order)
