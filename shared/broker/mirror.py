"""A bucket's values in memory: a few ms behind the broker, and readable while it is away."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Final, Generic, TypeVar

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.errors import APIError
from pydantic import ValidationError

from shared.broker.follow import following
from shared.broker.kv import REMOVED
from shared.messages.base import Record
from shared.runtime.logging import get_logger
from shared.runtime.tasks import beside

R = TypeVar("R", bound=Record)
log = get_logger()
REREAD_S: Final = 300.0
PAUSE_S: Final = 0.5


class Mirror(Generic[R]):
    """The values of a bucket whose keys match `pattern`; `changed` is called with key and value (None: removed).

    After a reconnect, and every five minutes, the watch restarts, so that a missed change is found.
    Reads are plain dictionary look-ups and may come from any thread.
    """

    def __init__(
        self,
        jetstream: Callable[[], JetStreamContext],
        bucket: str,
        model: type[R],
        *,
        pattern: str = ">",
        changed: Callable[[str, R | None], None] | None = None,
    ) -> None:
        self._jetstream = jetstream
        self._bucket = bucket
        self._model = model
        self._pattern = pattern
        self._changed = changed or (lambda _key, _value: None)
        self._values: dict[str, R] = {}
        self._current = asyncio.Event()

    def get(self, key: str) -> R | None:
        """Return the value of a key; None when the key does not exist."""
        return self._values.get(key)

    def values(self) -> dict[str, R]:
        """Return a copy of all values, by key."""
        return dict(self._values)

    async def wait_current(self) -> None:
        """Wait until the whole bucket has been read once."""
        await self._current.wait()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the mirror current while the block runs."""
        async with beside(self._follow()):
            yield

    async def _follow(self) -> None:
        while True:
            try:
                await self._watch_once()
            except (NatsError, APIError, TimeoutError, OSError) as error:
                log.info("mirror.interrupted", bucket=self._bucket, error=type(error).__name__)
                await asyncio.sleep(PAUSE_S)

    async def _watch_once(self) -> None:
        """Watch until a reconnect or for REREAD_S; drop keys that left the bucket once everything has been read."""
        js, seen = self._jetstream(), set[str]()
        stats = js._nc.stats  # noqa: SLF001  nats-py has no public counter of reconnects
        reconnects = stats["reconnects"]
        clock = asyncio.get_running_loop().time
        until, head = clock() + REREAD_S, f"$KV.{self._bucket}."
        async with following(js, f"KV_{self._bucket}", head + self._pattern) as changes:
            reading = changes.pending > 0
            if not reading:
                self._finish_reading(seen)
            while clock() < until and stats["reconnects"] == reconnects:
                message = await changes.next()
                if message is not None:
                    key = message.subject.removeprefix(head)
                    seen.add(key)
                    self._take(key, message)
                if reading and (await changes.is_read() if message is None else not message.metadata.num_pending):
                    self._finish_reading(seen)
                    reading = False

    def _take(self, key: str, message: Msg) -> None:
        if (message.headers or {}).keys().isdisjoint(REMOVED):
            self._read(key, message.data)
        else:
            self._drop(key)

    def _read(self, key: str, data: bytes) -> None:
        """Store a value; one that cannot be read changes nothing and does not end the watch."""
        try:
            value = self._model.model_validate_json(data)
        except ValidationError:
            log.error("mirror.unreadable", bucket=self._bucket, key=key)
            return
        self._set(key, value)

    def _finish_reading(self, seen: set[str]) -> None:
        for key in self._values.keys() - seen:
            self._drop(key)
        self._current.set()

    def _set(self, key: str, value: R) -> None:
        if self._values.get(key) != value:
            self._values[key] = value
            self._changed(key, value)

    def _drop(self, key: str) -> None:
        if self._values.pop(key, None) is not None:
            self._changed(key, None)
