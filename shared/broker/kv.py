"""Typed buckets: values are records, writes are compare-and-set on the revision."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Generic, TypeVar

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import APIError, KeyNotFoundError, KeyWrongLastSequenceError, NotFoundError
from nats.js.kv import KV_MARKER_REASON, KV_OP, KeyValue
from pydantic import ValidationError

from shared.errors import Unavailable
from shared.messages.base import Record
from shared.runtime.logging import get_logger

log = get_logger()
R = TypeVar("R", bound=Record)
_FAULTS = (NatsError, APIError, TimeoutError, OSError)
TRIES: Final = 40
STEP_ASIDE: Final = timedelta(milliseconds=10)
PAGE: Final = 200
READ_TIMEOUT: Final = timedelta(seconds=5)
READER_LIFE: Final = timedelta(seconds=30)
# A removed key's marker is there for those who follow the bucket; then it goes, too.
MARKER_LIFE: Final = timedelta(days=1)
REMOVED: Final = frozenset({KV_OP, KV_MARKER_REASON})


@dataclass(frozen=True, slots=True)
class Stored(Generic[R]):
    """A value with the revision it was read at."""

    key: str
    value: R
    revision: int


@dataclass(frozen=True, slots=True)
class Change(Generic[R]):
    """What a key holds now; None when it was removed, or holds what cannot be read."""

    key: str
    value: R | None
    revision: int


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a bucket has come: its first and last sequence, and what its history is known again by."""

    made: str
    """When the bucket was made."""
    first: int
    last: int
    last_at: str
    """When its last message was written."""
    reconnects: int
    """How often the connection had been made anew when this was read."""


class Conflict(Unavailable):
    """Somebody else wrote the key in between; read again."""


class Bucket(Generic[R]):
    """One bucket (or the part of it under `prefix`) that holds records of one type; Unavailable when it fails."""

    def __init__(self, jetstream: Callable[[], JetStreamContext], name: str, model: type[R]) -> None:
        self._jetstream = jetstream
        self._name = name
        self._model = model
        self._kv: KeyValue | None = None

    async def _bucket(self) -> KeyValue:
        if self._kv is None:
            self._kv = await self._jetstream().key_value(self._name)
        return self._kv

    async def get(self, key: str) -> Stored[R] | None:
        """Read a key; None when it is not there."""
        try:
            entry = await (await self._bucket()).get(key)
        except KeyNotFoundError:
            return None
        except _FAULTS as error:
            raise self._fault(error) from error
        return Stored(key, self._model.model_validate_json(entry.value or b""), entry.revision or 0)

    async def create(self, key: str, value: R) -> int:
        """Write a key that must not be there; Conflict when it is. Gives the revision."""
        try:
            return await (await self._bucket()).create(key, value.model_dump_json().encode())
        except KeyWrongLastSequenceError as error:
            raise Conflict(f"{self._name}/{key} exists") from error
        except _FAULTS as error:
            raise self._fault(error) from error

    async def replace(self, stored: Stored[R], value: R) -> Stored[R]:
        """Write over the revision that was read; Conflict when it has changed since."""
        try:
            revision = await (await self._bucket()).update(
                stored.key, value.model_dump_json().encode(), stored.revision
            )
        except KeyWrongLastSequenceError as error:
            raise Conflict(f"{self._name}/{stored.key} has changed") from error
        except _FAULTS as error:
            raise self._fault(error) from error
        return Stored(stored.key, value, revision)

    async def change(self, key: str, how: Callable[[R | None], R | None]) -> R | None:
        """Apply `how` to the value under compare-and-set, again on conflict; None from `how` leaves it as it is."""
        for conflicts in range(TRIES):
            stored = await self.get(key)
            value = how(stored.value if stored else None)
            if value is None:
                return stored.value if stored else None
            try:
                if stored is None:
                    await self.create(key, value)
                else:
                    await self.replace(stored, value)
            except Conflict:
                await asyncio.sleep(random.random() * min(conflicts, 10) * STEP_ASIDE.total_seconds())
                continue
            return value
        raise Conflict(f"{self._name}/{key} keeps changing")

    async def delete(self, key: str, revision: int | None = None) -> None:
        """Remove a key and its history; with a revision, only when that is still the last one (else Unavailable)."""
        try:
            bucket = await self._bucket()
            if revision is None:
                await bucket.purge(key, MARKER_LIFE.total_seconds())
            else:
                await bucket.delete(key, last=revision)
        except _FAULTS as error:
            raise self._fault(error) from error

    async def items(self, prefix: str = "") -> list[Stored[R]]:
        """Read all values under a key prefix of whole tokens ("" for all) or a pattern with `*`, in one pass.

        Each key comes once, with a revision that it had during the call. A value that cannot be read is passed over.
        """
        pattern = prefix if "*" in prefix else f"{prefix}.>" if prefix else ">"
        found: dict[str, Stored[R]] = {}
        async for changes in self.changes(pattern):
            for change in changes:
                found.pop(change.key, None)
                if change.value is not None:
                    found[change.key] = Stored(change.key, change.value, change.revision)
        return list(found.values())

    async def mark(self) -> Mark:
        """Tell how far the bucket has come."""
        try:
            reconnects = self._jetstream()._nc.stats["reconnects"]  # noqa: SLF001  nats-py tells of them nowhere else
            info = await self._api("STREAM.INFO", {})
        except _FAULTS as error:
            raise self._fault(error) from error
        state = info["state"]
        return Mark(info["created"], int(state["first_seq"]), int(state["last_seq"]), state["last_ts"], reconnects)

    async def goes_on(self, before: Mark, now: Mark) -> bool:
        """Tell whether what a mark told of still is this bucket's history: it was not made anew, nor set back.

        A broker that was set back while nobody was connected may have come further again by now: then a message in a
        sequence before the mark is younger than the mark.
        """
        if now.made != before.made or now.last < before.last:
            return False
        if now.last == before.last:
            return now.last_at == before.last_at
        if now.reconnects == before.reconnects or not before.last:
            return True
        try:
            found = await self._api("STREAM.MSG.GET", {"start_time": before.last_at, "next_by_subj": ">"})
        except NotFoundError:
            return True
        except _FAULTS as error:
            raise self._fault(error) from error
        sequence, at = int(found["message"]["seq"]), found["message"]["time"]
        return sequence > before.last or (sequence == before.last and at == before.last_at)

    async def _api(self, verb: str, asked: dict[str, str]) -> dict[str, Any]:
        """Ask what nats-py cannot, or keeps to itself."""
        js = self._jetstream()
        subject = f"{js._prefix}.{verb}.KV_{self._name}"  # noqa: SLF001  as above
        return await js._api_request(subject, json.dumps(asked).encode(), timeout=READ_TIMEOUT.total_seconds())  # noqa: SLF001  as above

    async def changes(self, pattern: str, after: int = 0) -> AsyncIterator[list[Change[R]]]:
        """Read, some at a time, what the keys of a pattern hold that were written after a revision, in their order.

        A key comes again when it is written meanwhile. Between two lists others get their turn.
        """
        try:
            async for messages in self._read_after(pattern, after):
                yield [self._change(message) for message in messages]
                await asyncio.sleep(0)
        except _FAULTS as error:
            raise self._fault(error) from error

    async def keys(self, prefix: str) -> list[str]:
        """List the keys under a prefix of whole tokens, in one request; some may have been removed."""
        subject = f"$KV.{self._name}."
        try:
            info = await self._jetstream().stream_info(f"KV_{self._name}", subjects_filter=f"{subject}{prefix}.>")
        except _FAULTS as error:
            raise self._fault(error) from error
        return sorted(name.removeprefix(subject) for name in info.state.subjects or {})

    async def _read_after(self, pattern: str, after: int) -> AsyncIterator[list[Msg]]:
        """Yield each key's last message after a revision, by a consumer of the call's own, which is removed at once."""
        js, stream = self._jetstream(), f"KV_{self._name}"
        config = ConsumerConfig(
            filter_subject=f"$KV.{self._name}.{pattern}",
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE if after else DeliverPolicy.LAST_PER_SUBJECT,
            opt_start_seq=after + 1 if after else None,
            ack_policy=AckPolicy.NONE, mem_storage=True, num_replicas=1, inactive_threshold=READER_LIFE.total_seconds(),
        )  # fmt: skip
        reader = await js.add_consumer(stream, config)
        pending = reader.num_pending or 0
        try:
            async with _pulling(js, f"{stream}.{reader.name}") as pull:
                while pending:
                    messages = await pull(min(pending, PAGE))
                    if messages:
                        yield messages
                        pending = messages[-1].metadata.num_pending
                    else:  # what was pending may have been removed meanwhile
                        pending = (await js.consumer_info(stream, reader.name)).num_pending or 0
        finally:
            with contextlib.suppress(*_FAULTS):
                await js.delete_consumer(stream, reader.name)

    def _change(self, message: Msg) -> Change[R]:
        key, revision = message.subject.split(".", 2)[2], message.metadata.sequence.stream
        removed = not (message.headers or {}).keys().isdisjoint(REMOVED)
        return Change(key, None if removed else self._read(key, message.data), revision)

    def _read(self, key: str, data: bytes) -> R | None:
        try:
            return self._model.model_validate_json(data)
        except ValidationError:
            log.error("kv.unreadable", bucket=self._name, key=key)
            return None

    def _fault(self, error: BaseException) -> Unavailable:
        return Unavailable(f"bucket {self._name}: {type(error).__name__}")


@contextlib.asynccontextmanager
async def _pulling(js: JetStreamContext, consumer: str) -> AsyncIterator[Callable[[int], Awaitable[list[Msg]]]]:
    """Yield a way to take so many messages of a consumer, or fewer: it costs a third of `fetch`."""
    client = js._nc  # noqa: SLF001  a context gives its connection nowhere else
    inbox = client.new_inbox()
    taken: list[Msg] = []
    enough = asyncio.Event()
    wanted = 0

    async def collect(message: Msg) -> None:
        if message.subject == inbox:  # a status: there are no more
            enough.set()
            return
        taken.append(message)
        if len(taken) >= wanted:
            enough.set()

    async def pull(count: int) -> list[Msg]:
        nonlocal wanted
        wanted = count
        taken.clear()
        enough.clear()
        request = {"batch": count, "expires": int(READ_TIMEOUT.total_seconds() * 1e9)}
        subject = f"{js._prefix}.CONSUMER.MSG.NEXT.{consumer}"  # noqa: SLF001  as above
        await client.publish(subject, json.dumps(request).encode(), reply=inbox)
        await asyncio.wait_for(enough.wait(), 2 * READ_TIMEOUT.total_seconds())
        return list(taken)

    subscription = await client.subscribe(inbox, cb=collect)
    try:
        yield pull
    finally:
        with contextlib.suppress(*_FAULTS):
            await subscription.unsubscribe()
