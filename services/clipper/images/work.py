"""Makes the images of a clip from its exact file. Whatever goes wrong with an image, the clip goes on."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import av.error

from services.clipper.images.encode import encode_image
from services.clipper.images.frames import find_frame
from services.clipper.images.pictures import picture
from services.clipper.records import Clips
from services.clipper.state import ENDED, Change
from shared.errors import MediaError, Rejected
from shared.messages.clips import ClipRecord
from shared.messages.images import ENDINGS, ClipImage, ImageWish
from shared.runtime.logging import get_logger
from shared.store import MediaStore
from shared.store.base import ObjectMissing

log = get_logger()
# An image at which a clipper has died this often is given up, so that it does not end the clip.
MOST_TRIES: Final = 2
Watched = Callable[[ClipRecord, Callable[[threading.Event], ClipImage]], Awaitable[ClipImage | None]]


@dataclass(frozen=True, slots=True)
class ImageWork:
    """Makes images one by one; each is recorded as begun, then as ready or failed, so that a kill repeats only one."""

    clips: Clips
    store: MediaStore

    async def make(self, record: ClipRecord, watched: Watched) -> ClipRecord:
        """Make the images that a clip lacks; `watched` runs the work, and returns None when the clip has ended."""
        for wish in record.request.images:
            known = image_of(record, wish)
            if record.state in ENDED or record.file is None or known.state != "waiting":
                continue
            if known.tries >= MOST_TRIES:
                made: ClipImage | None = _failed(known, "it could not be made")
            else:
                known = known.model_copy(update={"tries": known.tries + 1})
                record = await self.clips.change(record.account, record.clip, with_image(known))
                made = await watched(record, self._job(record, wish, known))
            if made is None:
                return await self.clips.get(record.account, record.clip)
            record = await self.clips.change(record.account, record.clip, with_image(made))
        return record

    def _job(self, record: ClipRecord, wish: ImageWish, known: ClipImage) -> Callable[[threading.Event], ClipImage]:
        def work(stop: threading.Event) -> ClipImage:
            try:
                return self._made(record, wish, known, stop)
            except (Rejected, MediaError, ObjectMissing, av.error.FFmpegError, ValueError) as error:
                log.warning("clip.image.failed", clip=record.clip, kind=wish.kind, reason=str(error))
                return _failed(known, str(error))

        return work

    def _made(self, record: ClipRecord, wish: ImageWish, known: ClipImage, stop: threading.Event) -> ClipImage:
        if record.file is None:
            raise Rejected("the clip has no file")
        with self.store.local(record.file.key) as path:
            found = find_frame(path, None if wish.at_us is None else Fraction(wish.at_us, 1_000_000), stop)
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
