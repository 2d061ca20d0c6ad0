"""Makes the images of a clip from its exact file. Whatever goes wrong with an image, the clip goes on."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from typing import Final

import av.error

from services.clipper.images.encode import encode_image
from services.clipper.images.frames import find_frame
from services.clipper.images.pictures import picture
from services.clipper.records import Clips
from services.clipper.state import Change
from services.clipper.writing import content_key
from shared.errors import MediaError, NotYet, Rejected, Unavailable
from shared.messages.clips import ClipRecord, VodState
from shared.messages.images import ENDINGS, ClipImage, ImageWish
from shared.runtime.logging import get_logger
from shared.security.secrets import Vault
from shared.store import MediaStore
from shared.store.base import ObjectMissing
from shared.store.reserve import Reserve

log = get_logger()
# An image at which a clipper has died this often is given up.
MOST_TRIES: Final = 2
# States of a clip whose images nobody wants.
GIVEN_UP: Final[frozenset[VodState]] = frozenset({"cancelling", "cancelled"})
AWAY: Final = timedelta(seconds=5)
SOON: Final = timedelta(milliseconds=100)
Watched = Callable[[ClipRecord, Callable[[threading.Event], ClipImage]], Awaitable[ClipImage | None]]


@dataclass(frozen=True, slots=True)
class ImageWork:
    """Makes images one by one; each is recorded as begun, then as ready or failed, so that a kill repeats only one."""

    clips: Clips
    store: MediaStore
    reserve: Reserve
    stopping: Callable[[], bool]
    vault: Vault | None = None

    async def make(self, record: ClipRecord, watched: Watched) -> None:
        """Make the images that a clip lacks; `watched` runs the work, and returns None when they are not wanted.

        NotYet when the store or the broker fails or this clipper stops: then this try does not count.
        """
        file = record.file
        if file is None or file.accuracy != "frame" or not self._lacking(record):
            return
        try:
            await asyncio.to_thread(self.reserve.require, file.bytes)
            async with borrowed(self.store, file.key) as path:
                for wish in record.request.images:
                    await self._one(record, wish, path, watched)
        except Unavailable as error:
            raise NotYet(str(error), AWAY) from error
        except ObjectMissing as error:
            await self.give_up(record.account, record.clip, str(error))

    async def give_up(self, account: str, clip: str, reason: str) -> None:
        """Record that the images that a clip lacks will not be made."""
        stored = await self.clips.bucket.get(f"{account}.{clip}")
        if stored is None:
            return
        record = stored.value
        for known in (image_of(record, wish) for wish in record.request.images):
            if known.state == "waiting":
                await self._record(record, _failed(known, reason))

    def _lacking(self, record: ClipRecord) -> bool:
        waiting = any(image_of(record, wish).state == "waiting" for wish in record.request.images)
        return waiting and record.state not in GIVEN_UP

    async def _one(self, record: ClipRecord, wish: ImageWish, path: Path, watched: Watched) -> None:
        if self.stopping():
            raise NotYet("the clipper is stopping", SOON)
        stored = await self.clips.bucket.get(f"{record.account}.{record.clip}")
        if stored is None or stored.value.state in GIVEN_UP:
            return
        known = image_of(stored.value, wish)
        if known.state != "waiting":
            return
        if known.tries >= MOST_TRIES:
            await self._record(record, _failed(known, "it could not be made"))
            return
        begun = known.model_copy(update={"tries": known.tries + 1})
        await self._record(record, begun)
        try:
            made = await watched(record, self._job(record, wish, begun, path))
        except (Unavailable, NotYet):
            await self._record(record, known)
            raise
        if made is not None and not await self._record(record, made) and made.key:
            await asyncio.to_thread(self.store.delete, made.key)  # the clip was deleted meanwhile

    async def _record(self, record: ClipRecord, image: ClipImage) -> bool:
        """Record how far an image is, without telling the clip's state again; False when the clip is gone."""
        change = with_image(image)
        key = f"{record.account}.{record.clip}"
        return await self.clips.bucket.change(key, lambda before: change(before) if before else None) is not None

    def _job(
        self, record: ClipRecord, wish: ImageWish, known: ClipImage, path: Path
    ) -> Callable[[threading.Event], ClipImage]:
        def work(stop: threading.Event) -> ClipImage:
            try:
                return self._made(record, wish, known, path, stop)
            except (Rejected, MediaError, ObjectMissing, av.error.FFmpegError, ValueError) as error:
                log.warning("clip.image.failed", clip=record.clip, kind=wish.kind, reason=str(error))
                return _failed(known, str(error))

        return work

    def _made(
        self, record: ClipRecord, wish: ImageWish, known: ClipImage, path: Path, stop: threading.Event
    ) -> ClipImage:
        content = content_key(self.vault, record.request.encryption)
        moment = None if wish.at_us is None else Fraction(wish.at_us, 1_000_000)
        found = find_frame(path, moment, stop, content.key if content else None)
        pixels = picture(found, wish.width, wish.height)
        data = encode_image(pixels, wish.format, wish.quality)
        key = f"clips/{record.account}/{record.clip}/{wish.kind}.{ENDINGS[wish.format]}"
        self.store.put(key, data)
        return known.model_copy(
            update={
                "state": "ready", "key": key, "width": pixels.shape[1], "height": pixels.shape[0], "bytes": len(data),
                "at_us": round(found.at * 1_000_000),
            }
        )  # fmt: skip


@contextlib.asynccontextmanager
async def borrowed(store: MediaStore, key: str) -> AsyncIterator[Path]:
    """Yield a local file with an object's bytes; it is given back even when this is cancelled while it is copied."""
    local = store.local(key)
    entering = asyncio.get_running_loop().run_in_executor(None, local.__enter__)
    try:
        path = await asyncio.shield(entering)
    except asyncio.CancelledError:
        entering.add_done_callback(lambda done: done.exception() or local.__exit__(None, None, None))
        raise
    try:
        yield path
    finally:
        await asyncio.to_thread(local.__exit__, None, None, None)


def image_of(record: ClipRecord, wish: ImageWish) -> ClipImage:
    """Return how far a wanted image is."""
    made = next((image for image in record.images if image.kind == wish.kind), None)
    return made or ClipImage(kind=wish.kind, format=wish.format)


def with_image(image: ClipImage) -> Change:
    """Record how far an image is, in place of what was recorded of its kind."""

    def change(record: ClipRecord) -> ClipRecord | None:
        others = tuple(one for one in record.images if one.kind != image.kind)
        images = tuple(sorted((*others, image), key=lambda one: one.kind))
        return None if images == record.images else record.model_copy(update={"images": images})

    return change


def _failed(image: ClipImage, reason: str) -> ClipImage:
    return image.model_copy(update={"state": "failed", "error": reason[:512]})
