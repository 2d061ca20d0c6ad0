"""What is kept in memory of a bucket's records: read once, and from then on by what has been written since."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import ClassVar, Final, Generic, TypeVar

from nats.js import JetStreamContext

from shared.broker.kv import Bucket, Change, Mark
from shared.errors import Unavailable
from shared.messages.base import Record
from shared.runtime.logging import get_logger
from shared.runtime.tasks import beside

log = get_logger()
R = TypeVar("R", bound=Record)
REFRESH: Final = timedelta(seconds=2)


class Following(ABC, Generic[R]):
    """Brought up to date by whoever asks (`refresh`), and now and then by itself (`running`).

    A change may be taken twice, and what was removed without a mark (by age) is not told. A bucket that was made anew,
    or set back to an older state, is forgotten and read anew, one that was emptied forgotten.
    """

    pattern: ClassVar[str] = "*.*"

    def __init__(self, jetstream: Callable[[], JetStreamContext], bucket: str, model: type[R]) -> None:
        self._followed, self._name = Bucket(jetstream, bucket, model), bucket
        self._mark: Mark | None = None
        self._lock = asyncio.Lock()

    @abstractmethod
    def _forget(self) -> None:
        """Forget everything."""

    @abstractmethod
    def _take(self, change: Change[R]) -> None:
        """Take a change in."""

    def _begin(self) -> None:
        """Be ready for all there is; what was begun before may not have come to its end."""
        self._forget()

    async def _end(self) -> None:
        """Do what is to be done once all there is was read."""

    @property
    def is_first_reading(self) -> bool:
        """Whether everything is being read just now, and was not before."""
        return self._lock.locked() and not self._seen

    @property
    def _seen(self) -> int:
        return self._mark.last if self._mark else 0

    async def refresh(self) -> None:
        """Take in what has been written since the last time; at first everything. Unavailable when the broker is."""
        async with self._lock:
            now = await self._followed.mark()
            if self._mark and not await self._followed.goes_on(self._mark, now):
                self._forget()
                self._mark = None
            elif now.first > self._seen:  # nothing of what was known is there, or in another state
                self._forget()
            seen, anew = self._seen, not self._seen
            if now.last > seen:
                if anew:
                    self._begin()
                async for changes in self._followed.changes(self.pattern, seen):
                    for change in changes:
                        self._take(change)
                if anew:
                    await self._end()
            self._mark = now

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep it nearly up to date while the block runs."""
        async with beside(self._keep()):
            yield

    async def _keep(self) -> None:
        while True:
            try:
                await self.refresh()
            except Unavailable as error:
                log.info("following.later", bucket=self._name, error=str(error))
            await asyncio.sleep(REFRESH.total_seconds())
