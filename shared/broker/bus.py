"""The broker, handlers and publishers of a service, made from the tables in subjects.py and streams.py."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Final

from faststream.middlewares import AckPolicy
from faststream.nats import JStream, NatsBroker, PullSub
from faststream.nats.security import NatsSecurity, NatsToken, NatsUserPassword
from faststream.nats.subscriber.usecases import PullStreamSubscriber
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.errors import APIError

from shared.broker.connection import SteadyBroker
from shared.broker.middleware import Guard
from shared.broker.nodes import CONNECT, PING, Nodes
from shared.broker.streams import SCHEDULES, ConsumerSpec, consumer
from shared.broker.subjects import CHANNELS, channel_of, inbox_prefix, pull_inbox, schedule_subject, subject_of
from shared.broker.turns import Turns
from shared.errors import Unavailable
from shared.messages.base import Message
from shared.messages.schedules import Due
from shared.runtime.clock import Clock, rfc3339
from shared.runtime.readiness import Writes

ACK_TIMEOUT: Final = timedelta(seconds=5)
FETCH_TIMEOUT: Final = timedelta(seconds=5)
DRAIN_TIMEOUT: Final = timedelta(seconds=20)
RECONNECT_PAUSE: Final = timedelta(seconds=1)
_SECOND: Final = timedelta(seconds=1)
Handler = Callable[..., Awaitable[Any]]


def make_broker(nodes: Nodes, service: str, clock: Clock) -> tuple[NatsBroker, Guard]:
    """Return a service's broker, which reconnects for ever and drains on stop, and the guard of its handlers."""
    broker = SteadyBroker(
        list(nodes.urls),
        security=_security(nodes),
        name=service,
        inbox_prefix=inbox_prefix(service),
        max_reconnect_attempts=-1,
        reconnect_time_wait=RECONNECT_PAUSE // _SECOND,
        connect_timeout=CONNECT[nodes.several] // _SECOND,
        ping_interval=PING[nodes.several] // _SECOND,
        graceful_timeout=DRAIN_TIMEOUT.total_seconds(),
        logger=None,
    )
    guard = Guard(lambda: jetstream(broker), clock)
    broker.add_middleware(guard)
    return broker, guard


def _security(nodes: Nodes) -> NatsSecurity | None:
    if not nodes.user:
        return None
    return NatsUserPassword(nodes.user, nodes.password) if nodes.password else NatsToken(nodes.user)


def jetstream(broker: NatsBroker) -> JetStreamContext:
    """Return a connected broker's JetStream context, with a timeout of ACK_TIMEOUT."""
    return broker.config.connection_state.connection.jetstream(timeout=ACK_TIMEOUT.total_seconds())  # type: ignore[no-any-return, unused-ignore]


def subscribe(broker: NatsBroker, durable: str, handler: Handler) -> Turns | None:
    """Run `handler` for each message of a durable consumer, with the concurrency of its table row.

    For a work queue, return the Turns that feed the handler; the caller must run them in the background.
    """
    spec = consumer(durable)
    loops = [_pull(broker, spec, loop) for loop in range(1 if spec.turns else spec.workers)]
    for loop in loops:
        loop(handler)
    if not spec.turns:
        return None
    turns = Turns(lambda: jetstream(broker), spec, loops[0])
    loops[0].subscription = turns  # type: ignore[assignment]  # FastStream then creates none itself, and stops this one
    return turns


def _pull(broker: NatsBroker, spec: ConsumerSpec, number: int) -> PullStreamSubscriber:
    return broker.subscriber(
        spec.filter,
        durable=spec.durable,
        stream=JStream(spec.stream, declare=False),
        pull_sub=PullSub(batch_size=1, timeout=FETCH_TIMEOUT.total_seconds()),
        inbox_prefix=pull_inbox(spec.service),
        ack_policy=AckPolicy.NACK_ON_ERROR,
        title=spec.durable if number == 0 else f"{spec.durable}-{number}",
        include_in_schema=number == 0,
    )


class Outbox:
    """Publishes a service's messages to their channel's stream, acknowledged, with a deterministic id."""

    def __init__(self, broker: NatsBroker, service: str, clock: Clock, writes: Writes) -> None:
        self._broker = broker
        self._writes = writes
        self._service = service
        self._clock = clock
        self._publishers = {
            channel.model: broker.publisher(
                channel.pattern, stream=JStream(channel.stream, declare=False), schema=channel.model, title=channel.name
            )
            for channel in CHANNELS
            if service in channel.publishers
        }

    async def emit(self, message: Message) -> int:
        """Publish, wait for the broker's ack and return the sequence in the stream.

        Raise Unavailable when the broker does not answer; KeyError when this service does not publish that channel.
        """
        publisher = self._publishers[type(message)]
        try:
            ack = await publisher.publish(
                message.model_dump(mode="json"),
                subject=subject_of(message),
                headers=headers_of(message, self._service, self._clock),
                stream=channel_of(message).stream,
                timeout=ACK_TIMEOUT.total_seconds(),
            )
        except (NatsError, APIError, TimeoutError, OSError) as error:
            self._writes.note(subject_of(message), error)
            raise Unavailable(f"{message.channel} was not accepted: {type(error).__name__}") from error
        self._writes.note(subject_of(message))
        return int(ack.seq)

    async def schedule(self, name: str, at_ms: int, command: Message) -> None:
        """Schedule `command` for a wall-clock time; scheduling the same name again moves it."""
        due = Due(
            account=command.account,
            name=name,
            at_ms=at_ms,
            target=command.channel,
            body=command.model_dump(mode="json"),
        )
        headers = headers_of(due, self._service, self._clock) | {
            "Nats-Schedule": f"@at {rfc3339(at_ms)}",
            "Nats-Schedule-Target": subject_of(due),
        }
        del headers["Nats-Msg-Id"]  # moving a schedule back to an earlier time must not be dropped as a duplicate
        try:
            await jetstream(self._broker).publish(
                schedule_subject(due.account, name), due.model_dump_json().encode(), stream=SCHEDULES, headers=headers
            )
        except (NatsError, APIError, TimeoutError, OSError) as error:
            raise Unavailable(f"schedule {name} was not accepted: {type(error).__name__}") from error

    async def unschedule(self, account: str, name: str) -> None:
        """Cancel a schedule; do nothing when it is not set."""
        try:
            await jetstream(self._broker).purge_stream(SCHEDULES, subject=schedule_subject(account, name))
        except (NatsError, APIError, TimeoutError, OSError) as error:
            raise Unavailable(f"schedule {name} was not cancelled: {type(error).__name__}") from error


def headers_of(message: Message, service: str, clock: Clock) -> dict[str, str]:
    """Return CloudEvents 1.0 attributes (NATS binding, binary mode) and the id by which the server drops duplicates."""
    return {
        "Nats-Msg-Id": message.dedup_id,
        "ce-specversion": "1.0",
        "ce-id": message.dedup_id,
        "ce-type": message.channel,
        "ce-source": f"/reelay/{service}",
        "ce-subject": message.subject_id,
        "ce-time": rfc3339(clock.now_ms()),
        "content-type": "application/json",
    }
