"""From one event to the deliveries of everyone who is told of it."""

from __future__ import annotations

import json
from typing import Any

from services.notifier.addresses import Addresses
from services.notifier.cdnetworks import callback_body, shown_body
from services.notifier.events import Happening
from services.notifier.lanes import LaneFull, Lanes
from services.notifier.payload import payload
from services.notifier.receivers import Receiver, receivers_of
from services.notifier.retries import Policy, abandoned
from shared.broker.bus import Outbox
from shared.broker.kv import Bucket, Conflict
from shared.messages.notifications import DeliveryRecord, LaneEntry, NotificationSend
from shared.messages.restreams import RestreamEvent
from shared.runtime.clock import Clock
from shared.runtime.logging import get_logger
from shared.security.secrets import redact_url

log = get_logger()


def delivery_key(account: str, delivery: str) -> str:
    """Return the key of a delivery in the bucket `deliveries`."""
    return f"{account}.{delivery}"


class Fanout:
    """Writes deliveries and has them sent. The same event again changes nothing, wherever it stopped before."""

    def __init__(
        self,
        deliveries: Bucket[DeliveryRecord],
        lanes: Lanes,
        addresses: Addresses,
        outbox: Outbox,
        clock: Clock,
        policy: Policy,
        base_url: str,
    ) -> None:
        self._deliveries = deliveries
        self._lanes = lanes
        self._addresses = addresses
        self._outbox = outbox
        self._clock = clock
        self._policy = policy
        self._base_url = base_url

    async def spread(self, happening: Happening) -> None:
        """Have everyone told. Unavailable."""
        endpoints = await self._addresses.endpoints(happening.event.account)
        happening = self._addresses.told_by(happening)
        for receiver in receivers_of(happening, endpoints):
            await self._tell(happening, receiver)

    async def _tell(self, happening: Happening, receiver: Receiver) -> None:
        record = await self._written(self._record(happening, receiver))
        if record.state != "pending":
            return
        entry = LaneEntry(position=record.position, delivery=record.delivery)
        try:
            await self._lanes.add(record.account, record.lane, entry)
        except LaneFull as error:
            reason, now = str(error), self._clock.now_ms()
            key = delivery_key(record.account, record.delivery)
            await self._deliveries.change(key, lambda old: abandoned(old or record, reason, now))
            log.warning("webhook.lane.full", lane=record.lane, delivery=record.delivery)
            return
        await self._outbox.emit(NotificationSend(account=record.account, lane=record.lane, delivery=record.delivery))

    async def _written(self, record: DeliveryRecord) -> DeliveryRecord:
        """Write the record unless it is there; give what is there."""
        key = delivery_key(record.account, record.delivery)
        try:
            await self._deliveries.create(key, record)
        except Conflict:
            stored = await self._deliveries.get(key)
            return stored.value if stored else record
        return record

    def _record(self, happening: Happening, receiver: Receiver) -> DeliveryRecord:
        now = self._clock.now_ms()
        content: dict[str, Any] = {"payload": payload(happening, receiver, self._base_url)}
        if receiver.form == "cdnetworks":
            content = self._callback(happening)
        return DeliveryRecord(
            account=happening.event.account,
            delivery=receiver.delivery(happening),
            lane=receiver.lane(happening),
            position=happening.position,
            endpoint=receiver.endpoint,
            url=redact_url(receiver.url),
            target="" if receiver.endpoint else self._addresses.sealed(receiver.url),
            type=happening.type,
            resource=happening.resource,
            form=receiver.form,
            **content,
            state="pending",
            created_ms=now,
            deadline_ms=self._policy.deadline_ms(receiver.form, now),
        )

    def _callback(self, happening: Happening) -> dict[str, Any]:
        """Return a callback of the CDNetworks API: what is posted, sealed, and what people see of it."""
        event = happening.event
        assert isinstance(event, RestreamEvent)  # noqa: S101  only these have callbacks
        assert event.callback is not None  # noqa: S101  likewise
        body = json.dumps(callback_body(event, event.callback, self._addresses.opened), ensure_ascii=False)
        return {"payload": shown_body(event, event.callback), "sealed": self._addresses.sealed(body)}
