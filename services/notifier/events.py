"""Events as they are read from their stream."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.errors import APIError, NotFoundError

from shared.broker.streams import EVENTS
from shared.broker.subjects import BY_NAME
from shared.errors import Permanent, Unavailable
from shared.messages.base import Message
from shared.messages.notifications import NotificationTell

ID: Final = "Nats-Msg-Id"


@dataclass(frozen=True, slots=True)
class Happening:
    """An event, its sequence in the stream, and when it happened (ms since the epoch)."""

    event: Message
    position: int
    at_ms: int

    @property
    def type(self) -> str:
        """The event's channel; receivers choose events by it."""
        return self.event.channel

    @property
    def resource(self) -> str:
        """The id of the event's resource; for exports the clip, so that all events of a clip are in one lane."""
        return str(getattr(self.event, "clip", self.event.subject_id))


def tell_of(subject: str, position: int, headers: Mapping[str, str] | None) -> NotificationTell:
    """Return the command that sends the event at a sequence. Raise ValidationError if no event has this subject."""
    account = subject.rsplit(".", 2)[-2] if subject.count(".") > 1 else ""
    return NotificationTell(account=account, subject=subject, position=position, id=(headers or {}).get(ID, ""))


async def stored_event(js: JetStreamContext, order: NotificationTell) -> Happening:
    """Return the event that a command names. Raise Permanent when it is no longer stored, Unavailable."""
    try:
        stored = await js.get_msg(EVENTS, order.position)
    except NotFoundError as error:
        raise Permanent("the event is no longer stored") from error
    except (NatsError, APIError, TimeoutError, OSError) as error:
        raise Unavailable(f"{EVENTS}: {type(error).__name__}") from error
    if (
        stored.subject is None
        or stored.time is None
        or order != tell_of(stored.subject, order.position, stored.headers)
    ):
        raise Permanent(f"another event lies there by now: {stored.subject}")
    return read_event(order.subject, json.loads(stored.data or b""), order.position, stored.time)


def read_event(subject: str, body: dict[str, Any], position: int, stored: datetime) -> Happening:
    """Parse an event by its subject, `<channel>.<account>.<id>`. Raise Permanent when the channel is unknown."""
    channel = BY_NAME.get(subject.rsplit(".", 2)[0])
    if channel is None or channel.kind != "event":
        raise Permanent(f"no event has the subject {subject}")
    event = channel.model.model_validate(body)
    at_ms = getattr(event, "at_ms", None)
    return Happening(event, position, int(stored.timestamp() * 1000) if at_ms is None else at_ms)


def digest(*parts: str) -> str:
    """Return an id of 32 hex digits, the same for the same parts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
