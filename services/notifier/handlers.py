"""The notifier's handlers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from faststream.nats.annotations import NatsMessage
from nats.js import JetStreamContext

from services.notifier.courier import Courier
from services.notifier.events import stored_event
from services.notifier.fanout import Fanout
from services.notifier.relay import Relay
from shared.messages.notifications import NotificationReplay, NotificationSend, NotificationTell


@dataclass(frozen=True, slots=True)
class Handlers:
    """One method for each kind of message."""

    jetstream: Callable[[], JetStreamContext]
    relay: Relay
    fanout: Fanout
    courier: Courier

    async def event(self, message: NatsMessage) -> None:
        """Handle any event, by its subject and sequence."""
        await self.relay.pass_on(message.raw_message)

    async def tell(self, order: NotificationTell) -> None:
        """Handle `notifications.tell`."""
        await self.fanout.spread(await stored_event(self.jetstream(), order))

    async def send(self, order: NotificationSend) -> None:
        """Handle `notifications.send`."""
        await self.courier.work(order)

    async def replay(self, wish: NotificationReplay) -> None:
        """Handle `notifications.replay`."""
        await self.courier.replay(wish)
