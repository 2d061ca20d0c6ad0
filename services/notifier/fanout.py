"""Fan-out: from one event to one delivery for each of its receivers."""

from __future__ import annotations

from services.notifier.addresses import Addresses
from services.notifier.events import Happening
from services.notifier.lanes import LaneFull, Lanes
from services.notifier.receivers import Receiver, receivers_of
from services.notifier.retries import Policy, abandoned
from services.notifier.wording import Said, Wording
from shared.broker.bus import Outbox
from shared.broker.kv import Bucket, Conflict
from shared.messages.notifications import DeliveryRecord, LaneEntry, NotificationSend
from shared.runtime.clock import Clock
from shared.runtime.logging import get_logger
from shared.security.secrets import redact_url

log = get_logger()


def delivery_key(account: str, delivery: str) -> str:
    """Return the key of a delivery in the bucket `deliveries`."""
    return f"{account}.{delivery}"


class Fanout:
    """Writes deliveries and publishes the commands that send them. Idempotent, also after a partial run."""

    def __init__(
        self,
        deliveries: Bucket[DeliveryRecord],
        lanes: Lanes,
        addresses: Addresses,
        wording: Wording,
        outbox: Outbox,
        clock: Clock,
        policy: Policy,
    ) -> None:
        self._deliveries = deliveries
        self._lanes = lanes
        self._addresses = addresses
        self._wording = wording
        self._outbox = outbox
        self._clock = clock
        self._policy = policy

    async def spread(self, happening: Happening) -> None:
        """Create the deliveries of an event for all its receivers. Raise Unavailable."""
        endpoints = await self._addresses.endpoints(happening.event.account)
        happening = self._addresses.told_by(happening)
        for receiver in receivers_of(happening, endpoints):
            if said := await self._wording.of(happening, receiver):
                await self._tell(self._record(happening, receiver, said))

    async def _tell(self, made: DeliveryRecord) -> None:
        record = await self._written(made)
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
        """Write the record unless one exists. Return the stored record."""
        key = delivery_key(record.account, record.delivery)
        try:
            await self._deliveries.create(key, record)
        except Conflict:
            stored = await self._deliveries.get(key)
            return stored.value if stored else record
        if record.state == "dead":
            log.warning("webhook.dead", delivery=record.delivery, type=record.type, reason=record.error, tries=0)
        return record

    def _record(self, happening: Happening, receiver: Receiver, said: Said) -> DeliveryRecord:
        now = self._clock.now_ms()
        record = DeliveryRecord(
            account=happening.event.account,
            delivery=receiver.delivery(happening),
            lane=receiver.lane(happening),
            position=happening.position,
            endpoint=receiver.endpoint,
            url=redact_url(receiver.url),
            target="" if receiver.endpoint else self._addresses.sealed(receiver.url),
            credentials=receiver.credentials,
            type=happening.type,
            resource=happening.resource,
            payload=said.payload,
            form=receiver.form,
            brief=said.brief,
            sealed=said.sealed,
            state="pending",
            created_ms=now,
            deadline_ms=self._policy.deadline_ms(now, brief=said.brief),
        )
        return abandoned(record, said.lost, now) if said.lost else record
