"""A bucket's values kept in memory, current to some ms, and readable while the broker is away."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Final, Generic, TypeVar

from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.errors import APIError
from nats.js.kv import KV_DEL, KV_PURGE
from pydantic import ValidationError

from shared.logging import get_logger
from shared.messages.base import Record
from shared.tasks import beside

R = TypeVar("R", bound=Record)
log = get_logger()
IDLE_S: Final = 1.0  # a broker that was away is noticed so soon
REREAD_S: Final = 300.0
PAUSE_S: Final = 0.5


class Mirror(Generic[R]):
    """The values of a bucket whose keys match `pattern`; `changed` is called with key and value (None: removed).

    After a reconnect, and every five minutes, the watch is begun anew, so that nothing missed stays missed.
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
        """Look a key up."""
        return self._values.get(key)

    def values(self) -> dict[str, R]:
        """Give a copy of all."""
        return dict(self._values)

    async def wait_current(self) -> None:
        """Wait until everything that was in the bucket has been read once."""
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
        """Watch until a reconnect or REREAD_S; what is no longer in the bucket is dropped once all has been read."""
        js = self._jetstream()
        reconnects = js._nc.stats["reconnects"]  # noqa: SLF001  nats-py tells it nowhere else
        watcher = await (await js.key_value(self._bucket)).watch(self._pattern)
        seen: set[str] | None = set()
        until = asyncio.get_running_loop().time() + REREAD_S
        try:
            while asyncio.get_running_loop().time() < until and js._nc.stats["reconnects"] == reconnects:  # noqa: SLF001
                try:
                    entry = await watcher.updates(timeout=IDLE_S)  # type: ignore[no-untyped-call]
                except TimeoutError:
                    continue
                if entry is None:
                    self._finish_reading(seen or set())
                    seen = None
                elif entry.operation in {KV_DEL, KV_PURGE}:
                    self._drop(entry.key)
                else:
                    if seen is not None:
                        seen.add(entry.key)
                    self._read(entry.key, entry.value or b"")
        finally:
            with contextlib.suppress(NatsError):
                await watcher.stop()  # type: ignore[no-untyped-call]

    def _read(self, key: str, data: bytes) -> None:
        """Take a value; one that cannot be read changes nothing, and ends no watch."""
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
