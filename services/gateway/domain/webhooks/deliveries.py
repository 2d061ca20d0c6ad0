"""Webhooks on their way to their receivers: the notifier's bucket `deliveries`."""

from __future__ import annotations

from collections.abc import Callable

from nats.js import JetStreamContext

from services.gateway.domain.errors import no_such
from services.gateway.domain.lists.lists import deliveries_list
from shared.broker import buckets
from shared.broker.bus import Outbox
from shared.broker.kv import Bucket
from shared.messages.notifications import DeliveryRecord, NotificationReplay
from shared.runtime.clock import Clock


class Deliveries:
    """Finds deliveries, and requests that they are sent again."""

    def __init__(self, jetstream: Callable[[], JetStreamContext], outbox: Outbox, clock: Clock) -> None:
        self.list = deliveries_list(jetstream)
        self._bucket = Bucket(jetstream, buckets.DELIVERIES, DeliveryRecord)
        self._outbox = outbox
        self._clock = clock

    async def get(self, account: str, delivery: str) -> DeliveryRecord:
        """Return a delivery; NotFound."""
        stored = await self._bucket.get(f"{account}.{delivery}")
        if stored is None:
            raise no_such("delivery")
        return stored.value

    async def replay(self, account: str, delivery: str) -> DeliveryRecord:
        """Request that a delivery is sent again, and return it as it was; NotFound."""
        record = await self.get(account, delivery)
        now = self._clock.now_ms()
        await self._outbox.emit(
            NotificationReplay(account=account, lane=record.lane, delivery=record.delivery, at_ms=now)
        )
        return record
