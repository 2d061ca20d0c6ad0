"""An event as it was read from its stream."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared.errors import Permanent
from shared.messages.base import Message
from shared.subjects import BY_NAME


@dataclass(frozen=True, slots=True)
class Happening:
    """An event, its place in the stream, and when it happened (ms since the epoch)."""

    event: Message
    position: int
    at_ms: int

    @property
    def type(self) -> str:
        """The event's channel, by which receivers choose."""
        return self.event.channel

    @property
    def resource(self) -> str:
        """The id of what it is about: the clip for exports too, so that a clip's story is one."""
        return str(getattr(self.event, "clip", self.event.subject_id))


def read_event(subject: str, body: dict[str, Any], position: int, stored: datetime) -> Happening:
    """Read an event by its subject, `<channel>.<account>.<id>`; Permanent when the channel is not known."""
    channel = BY_NAME.get(subject.rsplit(".", 2)[0])
    if channel is None or channel.kind != "event":
        raise Permanent(f"no event has the subject {subject}")
    event = channel.model.model_validate(body)
    at_ms = getattr(event, "at_ms", None)
    return Happening(event, position, int(stored.timestamp() * 1000) if at_ms is None else at_ms)


def digest(*parts: str) -> str:
    """Make an id of 32 hex digits that is the same for the same parts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
