"""Orders pictures of moments, waits for them, and has them as content to send."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from functools import partial
from typing import Final

from nats.js import JetStreamContext

from services.gateway.delivery.moments.find import Moment
from services.gateway.domain.errors import NoAnswer, NotFound, TooMany
from services.gateway.domain.soon import soon
from services.gateway.http.files import PIECE, Content, tag_of
from shared.broker import buckets
from shared.broker.bus import Outbox
from shared.broker.kv import Bucket
from shared.messages.pictures import PICTURE_LIFE, PictureForm, PictureRecord, RecordingPicture
from shared.runtime.clock import Clock, rfc3339
from shared.security.peers import Budget, network_of
from shared.store import MediaStore

PATIENCE: Final = timedelta(seconds=25)
LOOK: Final = timedelta(milliseconds=40)
FAILED_FOR: Final = timedelta(seconds=10)
"""So long a picture that could not be made is not tried again."""
TRUSTED: Final = PICTURE_LIFE - timedelta(minutes=5)
AT_ONCE: Final = 4
WAIT: Final = timedelta(seconds=1)
EACH_AT_ONCE, EACH_AGAIN = 20, timedelta(seconds=2)
ALL_AT_ONCE, ALL_AGAIN = 300, timedelta(milliseconds=500)
"""New pictures that viewers without a key may have made of moments: those of one network, and all of an account. They
lie in the store for hours, so that without limit a viewer of a week's recording could fill it.
"""
_MS: Final = timedelta(milliseconds=1)
TYPES: Final[dict[PictureForm, str]] = {
    "jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp", "mp4": "video/mp4",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Look:
    """How a picture is to look."""

    form: PictureForm = "jpeg"
    width: int | None = None
    height: int | None = None
    quality: int = 85


class MomentPictures:
    """Pictures of moments; an account waits for AT_ONCE new ones at a time in this gateway."""

    def __init__(
        self,
        jetstream: Callable[[], JetStreamContext],
        outbox: Outbox,
        store: MediaStore,
        clock: Clock,
        patience: timedelta = PATIENCE,
    ) -> None:
        self._records = Bucket(jetstream, buckets.PICTURES, PictureRecord)
        self._outbox = outbox
        self._store = store
        self._clock = clock
        self._waiting: Counter[str] = Counter()
        self._making: dict[str, asyncio.Task[PictureRecord]] = {}
        self._networks = Budget(EACH_AT_ONCE, EACH_AGAIN, clock)
        self._viewers = Budget(ALL_AT_ONCE, ALL_AGAIN, clock)
        self.patience = patience

    async def picture(
        self, account: str, event: str, moment: Moment, look: Look, cache: str, viewer: str | None = None
    ) -> Content:
        """Return a picture, made if need be; NotFound when there is none, TooMany, NoAnswer.

        `viewer`: the address of one without a key, for whom fewer are made.
        """
        ident = _ident(account, event, moment, look)
        record = await self._known(f"{account}.{ident}")
        if record is None:
            record = await self._made(account, event, ident, moment, look, viewer)
        if record.key is None or record.at is None:
            raise NotFound(f"there is no picture of this moment: {record.error}")
        wall_ms = moment.wall_ms + int((record.at - moment.stream) * 1000)
        skipped = (("X-Reelay-Skipped", f"{float(moment.skipped):.3f}"),) if moment.skipped else ()
        return Content(
            size=record.bytes,
            tag=tag_of(record.key, record.asked_ms, record.bytes),
            read=partial(self._read, record.key),
            media_type=TYPES[look.form],
            headers=(
                ("X-Reelay-Time", rfc3339(wall_ms)),
                ("X-Reelay-Stream-Time", f"{float(max(record.at, Fraction(0))):.6f}"),
                *skipped,
            ),
            cache=cache,
            what="picture",
        )

    async def _known(self, key: str) -> PictureRecord | None:
        """Return a record that still holds."""
        stored = await self._records.get(key)
        if stored is None:
            return None
        age = timedelta(milliseconds=self._clock.now_ms() - stored.value.asked_ms)
        return stored.value if age < (TRUSTED if stored.value.key else FAILED_FOR) else None

    async def _made(
        self, account: str, event: str, ident: str, moment: Moment, look: Look, viewer: str | None
    ) -> PictureRecord:
        """Return a picture that is made for all who ask for it meanwhile; TooMany, NoAnswer, Unavailable."""
        key = f"{account}.{ident}"
        making = self._making.get(key)
        if making is None:
            if self._waiting[account] >= AT_ONCE:
                raise TooMany("TOO_MANY_PICTURES", f"the account waits for {AT_ONCE} pictures already", WAIT)
            if viewer is not None:
                self._count(account, viewer)
            self._waiting[account] += 1
            making = self._making[key] = asyncio.create_task(self._ordered(account, event, ident, moment, look))
            making.add_done_callback(lambda task: self._done(account, key, task))
        return await asyncio.shield(making)

    def _count(self, account: str, viewer: str) -> None:
        """Count a new picture for a viewer; TooMany."""
        network = account, network_of(viewer)
        for budget, key in ((self._networks, network), (self._viewers, account)):
            if not budget.take(key):
                raise TooMany(
                    "TOO_MANY_PICTURES", "too many new pictures; those there are come at once", budget.wait(key)
                )

    def _done(self, account: str, key: str, task: asyncio.Task[PictureRecord]) -> None:
        del self._making[key]
        self._waiting[account] -= 1
        if not self._waiting[account]:
            del self._waiting[account]
        if not task.cancelled():
            task.exception()  # whoever still waits has it

    async def _ordered(self, account: str, event: str, ident: str, moment: Moment, look: Look) -> PictureRecord:
        now_ms = self._clock.now_ms()
        order = RecordingPicture(
            account=account, event=event, picture=ident, track=moment.track, at=moment.stream, form=look.form,
            width=look.width, height=look.height, quality=look.quality, at_ms=now_ms - now_ms % (FAILED_FOR // _MS),
        )  # fmt: skip
        await self._outbox.emit(order)
        return await self._result(f"{account}.{ident}", order.at_ms)

    async def _result(self, key: str, since_ms: int) -> PictureRecord:
        found: list[PictureRecord] = []

        async def is_there() -> bool:
            stored = await self._records.get(key)
            if stored is not None and stored.value.asked_ms >= since_ms:
                found.append(stored.value)
            return bool(found)

        if not await soon(is_there, self.patience, LOOK):
            raise NoAnswer("the picture takes long; try again in a moment")
        return found[0]

    def _read(self, key: str, offset: int, length: int) -> Iterator[bytes]:
        return self._store.read(key, offset, length, chunk=PIECE)


def _ident(account: str, event: str, moment: Moment, look: Look) -> str:
    wanted = repr((account, event, moment.track, moment.stream, look))
    return hashlib.sha256(wanted.encode()).hexdigest()[:32]
