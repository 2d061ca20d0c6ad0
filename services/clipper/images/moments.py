"""Makes pictures of moments of recordings, which the gateway waits for, and removes them when nobody asks any more."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from typing import Final

import av.error

from services.clipper.images.encode import encode_image
from services.clipper.images.pictures import picture
from services.clipper.images.pieces import keyframe_film, still
from services.clipper.reach import entry
from services.clipper.recording_reader import RecordingReader
from shared.broker.kv import Bucket
from shared.errors import MediaError, Rejected, Unavailable
from shared.media.timeline import Placed, Timeline
from shared.messages.pictures import PICTURE_ENDINGS, PICTURE_LIFE, PictureRecord, RecordingPicture
from shared.messages.ranges import Selection
from shared.runtime.clock import Clock
from shared.runtime.logging import get_logger
from shared.runtime.tasks import beside
from shared.store import MediaStore
from shared.store.base import ObjectMissing
from shared.store.reserve import Reserve

log = get_logger()
FOLDER: Final = "pictures"
LONGEST: Final = timedelta(seconds=15)
"""A picture that takes longer is given up: it lies too far behind its keyframe."""
MOST_BYTES: Final = 96 << 20
AFTER: Final = Fraction(1)
"""How much after the moment is read: pictures shown before it may be decoded later."""
SWEEP: Final = timedelta(minutes=30)
OLD: Final = 2 * PICTURE_LIFE


@dataclass(frozen=True, slots=True)
class Moments:
    """Makes pictures of moments."""

    source: RecordingReader
    store: MediaStore
    records: Bucket[PictureRecord]
    clock: Clock
    reserve: Reserve

    async def make(self, order: RecordingPicture) -> None:
        """Make a picture, and record it, or why there is none. An order that a record answers changes nothing.

        Unavailable when the store or the broker fails.
        """
        stored = await self.records.get(f"{order.account}.{order.picture}")
        if stored is not None and stored.value.asked_ms >= order.at_ms:
            return
        try:
            record = await self._made(order)
        except (Rejected, MediaError, ObjectMissing, av.error.FFmpegError, ValueError) as error:
            log.warning("moment.picture.failed", event_id=order.event, reason=str(error))
            await self.give_up(order, str(error))
        else:
            await self._record(record)

    async def give_up(self, order: RecordingPicture, reason: str) -> None:
        """Record that a picture cannot be made."""
        await self._record(
            PictureRecord(account=order.account, picture=order.picture, asked_ms=order.at_ms, error=reason[:512])
        )

    async def _record(self, record: PictureRecord) -> None:
        def newer(before: PictureRecord | None) -> PictureRecord | None:
            return record if before is None or before.asked_ms < record.asked_ms else None

        await self.records.change(f"{record.account}.{record.picture}", newer)

    async def _made(self, order: RecordingPicture) -> PictureRecord:
        selection = Selection(clock="stream", start=order.at, end=order.at)
        part = await self.source.part(order.account, order.event, selection, order.track)
        pieces = needed(part.timeline, order.at)
        stop = threading.Event()
        task = asyncio.create_task(asyncio.to_thread(self._work, order, pieces, stop))
        try:
            done, _ = await asyncio.wait({task}, timeout=LONGEST.total_seconds())
        finally:
            stop.set()
        if not done:
            task.add_done_callback(lambda late: late.exception())  # only that it was stopped
            raise Rejected("it takes too long: the moment is far behind a keyframe")
        return task.result()

    def _work(self, order: RecordingPicture, pieces: list[Placed], stop: threading.Event) -> PictureRecord:
        """Read, decode, encode and store a picture. Blocks."""
        first = pieces[0].segment
        data = b"".join(self.store.get(key) for key in (first.init_key, *(one.segment.key for one in pieces)))
        zero = Fraction(first.origin_ms, 1000) - Fraction(first.zero, first.timescale)
        if order.form == "mp4":
            made, size, at = keyframe_film(data, order.at - zero)
        else:
            found = still(data, order.at - zero, stop)
            pixels = picture(found, order.width, order.height)
            made, at = encode_image(pixels, order.form, order.quality), found.at
            size = pixels.shape[1], pixels.shape[0]
        key = f"{FOLDER}/{order.account}/{order.picture}.{PICTURE_ENDINGS[order.form]}"
        self.reserve.require(len(made))
        self.store.put(key, made)
        return PictureRecord(
            account=order.account, picture=order.picture, asked_ms=order.at_ms, key=key, bytes=len(made),
            width=size[0], height=size[1], at=at + zero,
        )  # fmt: skip

    @contextlib.asynccontextmanager
    async def sweeping(self) -> AsyncIterator[None]:
        """Remove old pictures at the start of the block, and again and again in it."""

        async def work() -> None:
            while True:
                try:
                    await asyncio.to_thread(self.sweep)
                except (OSError, Unavailable) as error:
                    log.warning("moment.pictures.kept", error=str(error))
                await asyncio.sleep(SWEEP.total_seconds())

        async with beside(work()):
            yield

    def sweep(self) -> int:
        """Remove pictures that no record names any more, and return their number. Blocks."""
        before_ms = self.clock.now_ms() - OLD // timedelta(milliseconds=1)
        old = [one.key for one in self.store.list(FOLDER) if 0 < one.modified_ms < before_ms]
        for key in old:
            self.store.delete(key)
        return len(old)


def needed(timeline: Timeline, at: Fraction) -> list[Placed]:
    """Return the segments from which the picture at a moment is decoded, of one session and one init; Rejected."""
    target = next((p for p in timeline.placed if p.start <= at < p.end), None)
    first = entry(timeline, at)
    if target is None or first is None:
        raise Rejected("nothing is recorded at this moment, or it is no longer kept")
    own = target.segment
    alike = [
        p for p in timeline.placed
        if (p.segment.session, p.segment.init_key) == (own.session, own.init_key)
        and p.end > min(first.start, target.start) and p.start <= at + AFTER
    ]  # fmt: skip
    if sum(p.segment.bytes for p in alike) > MOST_BYTES:
        raise Rejected("the moment is too far behind a keyframe")
    return alike
