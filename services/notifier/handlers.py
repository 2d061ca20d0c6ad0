"""The notifier's handlers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from faststream.nats.annotations import NatsMessage

from services.notifier.courier import Courier
from services.notifier.events import read_event
from services.notifier.fanout import Fanout
from shared.messages.notifications import NotificationReplay, NotificationSend


@dataclass(frozen=True, slots=True)
class Handlers:
    """One method a kind of message."""

    fanout: Fanout
    courier: Courier

    async def event(self, body: dict[str, Any], message: NatsMessage) -> None:
        """Any event, by its subject."""
        raw = message.raw_message
        place = raw.metadata
        await self.fanout.spread(read_event(raw.subject, body, place.sequence.stream, place.timestamp))

    async def send(self, order: NotificationSend) -> None:
        """`notifications.send`."""
        await self.courier.work(order)

    async def replay(self, wish: NotificationReplay) -> None:
        """`notifications.replay`."""
        await self.courier.replay(wish)
