"""A view of a bucket's records in memory: reads everything once, then only what has been written since."""

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
    """A view that callers update (`refresh`), and that updates itself every REFRESH (`running`).

    A change may be applied twice, and a removal without a marker (by age) is not seen. The view is cleared when the
    bucket was emptied, and cleared and read again when the bucket was recreated or restored to an older state.
    """

    pattern: ClassVar[str] = "*.*"

    def __init__(self, jetstream: Callable[[], JetStreamContext], bucket: str, model: type[R]) -> None:
        self._followed, self._name = Bucket(jetstream, bucket, model), bucket
        self._mark: Mark | None = None
        self._lock = asyncio.Lock()

    @abstractmethod
    def _forget(self) -> None:
        """Clear the view."""

    @abstractmethod
    def _take(self, change: Change[R]) -> None:
        """Apply a change."""

    def _begin(self) -> None:
        """Prepare for reading everything; an earlier reading may not have finished."""
        self._forget()

    async def _end(self) -> None:
        """Finish after everything was read once."""

    @property
    def is_first_reading(self) -> bool:
        """Whether everything is being read right now for the first time."""
        return self._lock.locked() and not self._seen

    @property
    def _seen(self) -> int:
        return self._mark.last if self._mark else 0

    async def refresh(self) -> None:
        """Apply what has been written since the last call; everything on the first. Raise Unavailable."""
        async with self._lock:
            now = await self._followed.mark()
            if self._mark and not await self._followed.goes_on(self._mark, now):
                self._forget()
                self._mark = None
            elif now.first > self._seen:  # nothing known is left in its old state
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
        """Refresh every REFRESH while the block runs."""
        async with beside(self._keep()):
            yield

    async def _keep(self) -> None:
        while True:
            try:
                await self.refresh()
            except Unavailable as error:
                log.info("following.later", bucket=self._name, error=str(error))
            await asyncio.sleep(REFRESH.total_seconds())
