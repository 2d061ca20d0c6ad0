"""The middleware around every handler: delayed redelivery, dead letters, heartbeats, log context.

The only code that catches every exception. Rules, by shared/errors.py:
- `Permanent`, an invalid body, or the last allowed try: the message goes to the dead letters with its error and
  the history of its tries, and its consumer gets no more of it (term).
- `NotYet`: the message comes again after the error's delay; this does not count as a try.
- anything else: the message comes again after a delay that doubles from 1 s to 5 min.
- a message whose handler died on every try (no failure was recorded, and no tries are left) goes to the dead letters
  without being handled.

Failures and waits are recorded in `failures.<consumer>.<sequence>`, because the server counts deliveries only.
"""

from __future__ import annotations

import base64
import contextlib
import json
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Final, NamedTuple

import structlog
from faststream import BaseMiddleware
from faststream.exceptions import HandlerException, NackMessage, RejectMessage
from faststream.message import StreamMessage
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError
from pydantic import ValidationError

from shared.broker.heartbeat import heartbeat
from shared.broker.sizes import LARGEST_LETTER
from shared.broker.streams import DEADLETTERS, ConsumerSpec, consumer
from shared.broker.subjects import dead_letter_subject, failure_subject
from shared.broker.turns import queue_of
from shared.errors import NotYet, Permanent, ReelayError, Transient
from shared.runtime.clock import Clock
from shared.runtime.logging import get_logger

log = get_logger()
FIRST_DELAY: Final = timedelta(seconds=1)
LONGEST_DELAY: Final = timedelta(minutes=5)
REMEMBER: Final = timedelta(seconds=2)
BURY: Final = timedelta(seconds=5)
HISTORY: Final = 20
FAULTS: Final = (NatsError, TimeoutError, OSError)
UNPARSEABLE: Final = (ValidationError, json.JSONDecodeError, UnicodeDecodeError)


def backoff(delivered: int, *, first: timedelta = FIRST_DELAY, longest: timedelta = LONGEST_DELAY) -> timedelta:
    """Return the pause after the n-th delivery (from 1): it doubles from `first` to `longest`, plus 10% jitter."""
    pause = min(first * 2 ** min(delivered - 1, 30), longest)
    return timedelta(seconds=pause.total_seconds() * (1 + random.random() / 10))


class Noted(NamedTuple):
    """The recorded failures and waits of a message's earlier deliveries."""

    failures: list[dict[str, Any]]
    waits: int


Mourner = Callable[[bytes, str], Awaitable[None]]
PauseListener = Callable[[str, timedelta], None]


class Guard:
    """Makes the middleware around each handler of a service."""

    def __init__(self, jetstream: Callable[[], JetStreamContext], clock: Clock) -> None:
        self.jetstream = jetstream
        self.clock = clock
        self._mourners: dict[str, Mourner] = {}
        self._listeners: dict[str, PauseListener] = {}

    def on_dead(self, durable: str, mourner: Mourner) -> None:
        """Call `mourner` with body and reason after a message of that consumer went to the dead letters."""
        self._mourners[durable] = mourner

    def on_pause(self, durable: str, listener: PauseListener) -> None:
        """Call `listener` with subject and delay when a message of that consumer is delayed."""
        self._listeners[durable] = listener

    def pause(self, raw: Msg, spec: ConsumerSpec, delay: timedelta) -> NackMessage:
        """Return the exception that, when raised, redelivers a message after a pause."""
        if listener := self._listeners.get(spec.durable):
            listener(raw.subject, delay)
        return NackMessage(delay=delay.total_seconds())

    async def mourn(self, durable: str, body: bytes, reason: str) -> None:
        """Let the service update its records after the loss; raise Transient errors, log others."""
        if mourner := self._mourners.get(durable):
            try:
                await mourner(body, reason)
            except Transient:
                raise
            except ValidationError:  # a body that no handler can read names no record either
                return
            except Exception as error:  # the dead letter is written; the message must still be terminated
                log.error("message.mourner_failed", consumer=durable, exc_info=error)

    def attempt(self, raw: Msg, reason: str) -> dict[str, Any]:
        """Return the history entry of a failed try."""
        return {"at_ms": self.clock.now_ms(), "delivery": raw.metadata.num_delivered, "error": reason}

    async def noted(self, spec: ConsumerSpec, sequence: int) -> Noted:
        """Return the recorded failures and waits of a message's earlier deliveries."""
        try:
            last = await self.jetstream().get_last_msg(DEADLETTERS, failure_subject(spec.durable, sequence))
        except NotFoundError:
            return Noted([], 0)
        noted = json.loads(last.data or b"{}")
        return Noted(noted.get("failures", [])[-HISTORY:], noted.get("waits", 0))

    async def history(self, spec: ConsumerSpec, sequence: int) -> list[dict[str, Any]]:
        """Return the failed tries of a message; an empty list when they cannot be read."""
        try:
            return (await self.noted(spec, sequence)).failures
        except FAULTS:
            return []

    async def remember(self, raw: Msg, spec: ConsumerSpec, *, error: str = "", waited: bool = False) -> None:
        """Record a failed try for a dead letter's history, or a wait; a lost record loses no message."""
        if spec.max_deliver <= 0:
            return  # the number of tries has no limit
        sequence = raw.metadata.sequence.stream
        with contextlib.suppress(*FAULTS):
            before = await self.noted(spec, sequence)
            failures = before.failures if waited else [*before.failures, self.attempt(raw, error)]
            await self.jetstream().publish(
                failure_subject(spec.durable, sequence),
                json.dumps({"failures": failures, "waits": before.waits + waited}).encode(),
                timeout=REMEMBER.total_seconds(), stream=DEADLETTERS, headers={"Nats-TTL": "48h"},
            )  # fmt: skip

    async def give_back(self, raw: Msg) -> None:
        """Send back a message that no worker has started: this does not count as a try."""
        await self.remember(raw, consumer(queue_of(raw.metadata.consumer)), waited=True)
        with contextlib.suppress(*FAULTS):
            await raw.nak()

    def __call__(self, msg: Any, **kwargs: Any) -> _GuardMiddleware:
        """Make the middleware for one message."""
        return _GuardMiddleware(self, msg, **kwargs)


class _GuardMiddleware(BaseMiddleware):
    def __init__(self, guard: Guard, msg: Any, **kwargs: Any) -> None:
        super().__init__(msg, **kwargs)
        self.guard = guard

    async def consume_scope(
        self, call_next: Callable[[StreamMessage[Any]], Awaitable[Any]], msg: StreamMessage[Any]
    ) -> Any:
        raw = msg.raw_message
        if not isinstance(raw, Msg) or not raw.reply.startswith("$JS.ACK"):
            return await call_next(msg)
        spec = consumer(queue_of(raw.metadata.consumer))
        tries = raw.metadata.num_delivered
        context = {"subject": raw.subject, "delivery": tries, "message": (raw.headers or {}).get("Nats-Msg-Id", "")}
        with structlog.contextvars.bound_contextvars(**context):
            try:
                async with heartbeat(raw, spec.ack_wait / 3):
                    if await self._tries(raw, spec) > spec.max_deliver > 0:
                        await self._bury(raw, spec, "the handler died on every try")
                    return await call_next(msg)
            except HandlerException:
                raise
            except NotYet as error:
                log.debug("message.not_yet", reason=str(error), delay_s=error.delay.total_seconds())
                await self.guard.remember(raw, spec, waited=True)
                raise self.guard.pause(raw, spec, error.delay) from error
            except (Permanent, *UNPARSEABLE) as error:
                await self._bury(raw, spec, _describe(error))
            except Exception as error:  # noqa: BLE001  the last resort: the message must not be lost, whatever the error
                await self._again(raw, spec, error)

    async def _tries(self, raw: Msg, spec: ConsumerSpec) -> int:
        """Return the number of this try: all deliveries except those that ended in NotYet."""
        delivered = int(raw.metadata.num_delivered)
        if spec.max_deliver <= 0 or delivered < spec.max_deliver:  # no limit, or not reached yet
            return delivered
        try:
            return delivered - (await self.guard.noted(spec, raw.metadata.sequence.stream)).waits
        except FAULTS as error:  # unknown waits are not zero waits: all deliveries may have waited
            raise self.guard.pause(raw, spec, FIRST_DELAY) from error

    async def _again(self, raw: Msg, spec: ConsumerSpec, error: Exception) -> None:
        tries = await self._tries(raw, spec)
        if 0 < spec.max_deliver <= tries:
            await self._bury(raw, spec, _describe(error))
        delay = backoff(tries)
        # a line describes an expected error; any other needs its traceback
        trace = None if isinstance(error, ReelayError) else error
        log.warning("message.failed", error=_describe(error), delay_s=round(delay.total_seconds(), 1), exc_info=trace)
        await self.guard.remember(raw, spec, error=_describe(error))
        raise self.guard.pause(raw, spec, delay) from error

    async def _bury(self, raw: Msg, spec: ConsumerSpec, reason: str) -> None:
        """Write the message to the dead letters, then terminate it; when that fails it comes again."""
        sequence = raw.metadata.sequence.stream
        letter = {
            "subject": raw.subject,
            "stream": raw.metadata.stream,
            "sequence": sequence,
            "consumer": spec.durable,
            "error": reason,
            "buried_ms": self.guard.clock.now_ms(),
            "deliveries": raw.metadata.num_delivered,
            "headers": raw.headers or {},
            "history": [*(await self.guard.history(spec, sequence)), self.guard.attempt(raw, reason)],
            "bytes": len(raw.data),
            "body": base64.b64encode(raw.data[:LARGEST_LETTER]).decode(),
        }
        name = f"dead-{spec.durable}-{sequence}-{raw.metadata.num_delivered}"
        try:
            await self.guard.jetstream().publish(
                dead_letter_subject(spec.durable, sequence), json.dumps(letter).encode(), timeout=BURY.total_seconds(),
                stream=DEADLETTERS, headers={"Nats-Msg-Id": name},
            )  # fmt: skip
            log.error("message.dead", consumer=spec.durable, error=reason)
            await self.guard.mourn(spec.durable, raw.data, reason)
        except (*FAULTS, Transient) as error:
            log.warning("message.bury_later", consumer=spec.durable, error=_describe(error))
            raise self.guard.pause(raw, spec, backoff(raw.metadata.num_delivered)) from error
        raise RejectMessage


def _describe(error: BaseException) -> str:
    if isinstance(error, ValidationError):
        parts = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False)[:5]]
        return f"invalid body: {'; '.join(parts)}"[:1000]
    return f"{type(error).__name__}: {error}"[:1000]
