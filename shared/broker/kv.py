"""Typed buckets: values are records, writes compare and set the revision."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Generic, TypeVar

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, Header
from nats.js.errors import APIError, KeyNotFoundError, KeyWrongLastSequenceError, NotFoundError
from nats.js.kv import KV_MARKER_REASON, KV_OP, KV_PURGE, MSG_ROLLUP_SUBJECT, KeyValue
from pydantic import ValidationError

from shared.broker.pulling import READ_TIMEOUT, pulling
from shared.errors import Unavailable
from shared.messages.base import Record
from shared.runtime.logging import get_logger

log = get_logger()
R = TypeVar("R", bound=Record)
_FAULTS = (NatsError, APIError, TimeoutError, OSError)
TRIES: Final = 40
STEP_ASIDE: Final = timedelta(milliseconds=10)
PAGE: Final = 200
READER_LIFE: Final = timedelta(seconds=30)
# A removed key's marker stays this long, for consumers that follow the bucket.
MARKER_LIFE: Final = timedelta(days=1)
REMOVED: Final = frozenset({KV_OP, KV_MARKER_REASON})
# JSStreamWrongLastSequenceErrF, and a cluster's for what is on its way; nats-server's server/errors.json
WRONG_LAST: Final = frozenset({10071, 10164})


@dataclass(frozen=True, slots=True)
class Stored(Generic[R]):
    """A value with the revision it was read at."""

    key: str
    value: R
    revision: int


@dataclass(frozen=True, slots=True)
class Change(Generic[R]):
    """The current value of a key; None when the key was removed, or its value cannot be read."""

    key: str
    value: R | None
    revision: int


@dataclass(frozen=True, slots=True)
class Mark:
    """The state of a bucket: its first and last sequence, and what identifies its history."""

    made: str
    """When the bucket was created."""
    first: int
    last: int
    last_at: str
    """When its last message was written."""
    reconnects: int
    """How often the connection had reconnected when this was read."""


class Conflict(Unavailable):
    """Another writer changed the key in between; read it again."""


class Bucket(Generic[R]):
    """One bucket that holds records of one type; its methods raise Unavailable when the broker fails."""

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
        """Return the value of a key; None when the key does not exist."""
        try:
            entry = await (await self._bucket()).get(key)
        except KeyNotFoundError:
            return None
        except _FAULTS as error:
            raise self._fault(error) from error
        return Stored(key, self._model.model_validate_json(entry.value or b""), entry.revision or 0)

    async def get_settled(self, key: str) -> Stored[R] | None:
        """Read a key as whoever wrote last left it: `get` may ask a replica that has not heard of that yet."""
        try:
            found = await self._jetstream().get_last_msg(f"KV_{self._name}", f"$KV.{self._name}.{key}")
        except NotFoundError:
            return None
        except _FAULTS as error:
            raise self._fault(error) from error
        if not (found.headers or {}).keys().isdisjoint(REMOVED):
            return None
        return Stored(key, self._model.model_validate_json(found.data or b""), found.seq or 0)

    async def create(self, key: str, value: R) -> int:
        """Write a new key and return its revision; raise Conflict when the key exists."""
        try:
            return await (await self._bucket()).create(key, value.model_dump_json().encode())
        except KeyWrongLastSequenceError as error:
            raise Conflict(f"{self._name}/{key} exists") from error
        except _FAULTS as error:
            raise self._fault(error) from error

    async def replace(self, stored: Stored[R], value: R) -> Stored[R]:
        """Overwrite the revision that was read; raise Conflict when the key has changed since."""
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
        """Apply `how` to the value with compare-and-set, again on conflict; None from `how` leaves it unchanged."""
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
        """Remove a key and its history; with a revision, only when that is still the last one (else Conflict)."""
        headers = {KV_OP: KV_PURGE, Header.ROLLUP: MSG_ROLLUP_SUBJECT}
        if revision is not None:
            headers[Header.EXPECTED_LAST_SUBJECT_SEQUENCE] = str(revision)
        try:
            await self._jetstream().publish(
                f"$KV.{self._name}.{key}", headers=headers, msg_ttl=MARKER_LIFE.total_seconds()
            )
        except APIError as error:
            if error.err_code in WRONG_LAST:
                raise Conflict(f"{self._name}/{key} has changed") from error
            raise self._fault(error) from error
        except _FAULTS as error:
            raise self._fault(error) from error

    async def items(self, prefix: str = "") -> list[Stored[R]]:
        """Return all values under a key prefix of whole tokens ("" for all) or a pattern with `*`, in one pass.

        Each key comes once, with a revision that it had during the call. Values that cannot be read are skipped.
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
        """Return the present state of the bucket."""
        try:
            reconnects = self._jetstream()._nc.stats["reconnects"]  # noqa: SLF001  nats-py has no public counter
            info = await self._api("STREAM.INFO", {})
        except _FAULTS as error:
            raise self._fault(error) from error
        state = info["state"]
        return Mark(info["created"], int(state["first_seq"]), int(state["last_seq"]), state["last_ts"], reconnects)

    async def goes_on(self, before: Mark, now: Mark) -> bool:
        """Return whether the bucket still has the history of a mark: it was neither recreated nor restored.

        A broker that was restored to an older state while nobody was connected may have passed the mark again by now:
        then a message with a sequence before the mark is younger than the mark.
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
        """Send a JetStream API request for which nats-py has no public call."""
        js = self._jetstream()
        subject = f"{js._prefix}.{verb}.KV_{self._name}"  # noqa: SLF001  as above
        return await js._api_request(subject, json.dumps(asked).encode(), timeout=READ_TIMEOUT.total_seconds())  # noqa: SLF001  as above

    async def changes(self, pattern: str, after: int = 0) -> AsyncIterator[list[Change[R]]]:
        """Yield, in batches and in order, the values of a pattern's keys that were written after a revision.

        A key comes again when it is written meanwhile. Between two batches other tasks run.
        """
        try:
            async for messages in self._read_after(pattern, after):
                yield [self._change(message) for message in messages]
                await asyncio.sleep(0)
        except _FAULTS as error:
            raise self._fault(error) from error

    async def keys(self, prefix: str = "") -> list[str]:
        """List the keys under a prefix of whole tokens ("" for all), in one request; some may have been removed."""
        subject = f"$KV.{self._name}."
        under = f"{subject}{prefix}.>" if prefix else f"{subject}>"
        try:
            info = await self._jetstream().stream_info(f"KV_{self._name}", subjects_filter=under)
        except _FAULTS as error:
            raise self._fault(error) from error
        return sorted(name.removeprefix(subject) for name in info.state.subjects or {})

    async def _read_after(self, pattern: str, after: int) -> AsyncIterator[list[Msg]]:
        """Yield each key's last message after a revision, through a consumer that lives only for this call."""
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
            async with pulling(js, f"{stream}.{reader.name}") as pull:
                while pending:
                    messages = await pull(min(pending, PAGE))
                    if messages:
                        yield messages
                        pending = messages[-1].metadata.num_pending
                    else:  # pending messages may have been removed meanwhile
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
