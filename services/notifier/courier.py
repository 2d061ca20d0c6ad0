"""Sends the deliveries of a lane: the first until it is delivered or dead, then the next."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

from services.notifier.addresses import Addresses
from services.notifier.fanout import delivery_key
from services.notifier.forms import FORMS
from services.notifier.forms.standard import encode
from services.notifier.lanes import BUSY_WAIT_MS, Lanes, wait_ms
from services.notifier.retries import Outcome, Policy, abandoned, replayed, settled
from services.notifier.sender import Recipient, Sender
from services.notifier.traffic import Traffic
from shared.broker.bus import Outbox
from shared.broker.kv import Bucket
from shared.errors import DestinationFailed, NotYet
from shared.messages.notifications import DeliveryRecord, LaneEntry, LaneRecord, NotificationReplay, NotificationSend
from shared.runtime.clock import Clock
from shared.runtime.logging import get_logger

log = get_logger()
IN_A_ROW: Final = 20
_MS: Final = timedelta(milliseconds=1)


@dataclass(slots=True)
class Courier:
    """Processes lanes. Acknowledges a message only when its lane is empty or the next try is scheduled."""

    deliveries: Bucket[DeliveryRecord]
    lanes: Lanes
    addresses: Addresses
    sender: Sender
    traffic: Traffic
    outbox: Outbox
    clock: Clock
    policy: Policy

    async def work(self, order: NotificationSend) -> None:
        """Send from a lane until it is empty or has to wait. Raise NotYet for a short wait; schedule a long one."""
        for _ in range(IN_A_ROW):
            wait = await self._step(order.account, order.lane)
            if wait is None:
                return
            if wait:
                await self._later(order, wait)
                return
        raise NotYet("other lanes are next", timedelta(milliseconds=10))

    async def replay(self, wish: NotificationReplay) -> None:
        """Send a delivery again, after the others in its lane; a request that was applied before changes nothing."""
        key = delivery_key(wish.account, wish.delivery)
        now = self.clock.now_ms()

        def how(old: DeliveryRecord | None) -> DeliveryRecord | None:
            return replayed(old, wish.at_ms, now, self.policy) if old else None

        record = await self.deliveries.change(key, how)
        if record is None or record.state != "pending":
            log.info("webhook.replay.nothing", delivery=wish.delivery)
            return
        lane = await self.lanes.get(record.account, record.lane)
        last = max((entry.position for entry in lane.pending), default=0) if lane else 0
        entry = LaneEntry(position=max(last, record.position), delivery=record.delivery)
        await self.lanes.add(record.account, record.lane, entry, now=True)
        await self.outbox.emit(
            NotificationSend(account=record.account, lane=record.lane, delivery=record.delivery, due_ms=wish.at_ms)
        )

    async def _later(self, order: NotificationSend, wait: int) -> None:
        if wait < self.policy.shortest_schedule // _MS:
            raise NotYet("the lane waits", timedelta(milliseconds=wait))
        at_ms = self.clock.now_ms() + wait
        await self.lanes.rest(order.account, order.lane, at_ms)
        again = order.model_copy(update={"due_ms": at_ms})
        await self.outbox.schedule(f"lane-{order.lane}", at_ms, again)

    async def _step(self, account: str, name: str) -> int | None:
        """Handle the first delivery. Return None when there is none, 0 when it is done, otherwise the wait in ms."""
        lane = await self.lanes.get(account, name)
        if lane is None or not lane.pending:
            return None
        if wait := wait_ms(lane, self.clock.now_ms()):
            return wait
        delivery = lane.pending[0].delivery
        stored = await self.deliveries.get(delivery_key(account, delivery))
        if stored is None or stored.value.state != "pending":
            await self.lanes.drop(account, name, delivery)
            return 0
        record = stored.value
        if reason := _unsendable(record):
            await self._give_up(record, reason)
            return 0
        try:
            target = await self.addresses.target(record)
        except DestinationFailed as error:
            await self._give_up(record, str(error))
            return 0
        return await self._pass(lane, record, target)

    async def _pass(self, lane: LaneRecord, record: DeliveryRecord, target: Recipient) -> int:
        """Send if the limits of the receiver allow it. Return the wait until the next step, ms."""
        account, now = record.account, self.clock.now_ms()
        if wait := self.traffic.enter(account, target.url, now):
            if now >= record.deadline_ms and self.traffic.failing(account, target.url):
                await self._give_up(record, "not delivered in time: the receiver fails again and again")
                return 0
            return wait
        try:
            token = uuid.uuid4().hex
            if not await self.lanes.hold(lane, token, now, now + self.policy.hold // _MS):
                return BUSY_WAIT_MS
            outcome = await self.sender.send(target, record.delivery, self._body(record), FORMS[record.form])
        finally:
            self.traffic.leave(account, target.url)
        now = self.clock.now_ms()
        self.traffic.learn(
            account, target.url, failed=outcome.spares(brief=record.brief), took_ms=outcome.took_ms, now_ms=now
        )
        return await self._settle(lane, record, outcome, token, now)

    def _body(self, record: DeliveryRecord) -> bytes:
        return self.addresses.opened(record.sealed).encode() if record.sealed else encode(record.payload)

    async def _settle(self, lane: LaneRecord, record: DeliveryRecord, outcome: Outcome, token: str, now: int) -> int:
        def how(old: DeliveryRecord | None) -> DeliveryRecord | None:
            if old and old.state != "pending" and not outcome.delivered:
                return None  # another instance took the lane meanwhile and has a later result
            return settled(old or record, outcome, now, self.policy, lane.deaf)

        after = await self.deliveries.change(delivery_key(record.account, record.delivery), how) or record
        done = after.state != "pending"
        self._say(after, outcome)
        deaf = _deaf(lane, after, outcome, self.policy)
        await self.lanes.release(
            record.account, record.lane, token, done=record.delivery if done else "", next_ms=after.next_ms or 0,
            deaf=deaf,
        )  # fmt: skip
        return 0 if done else max((after.next_ms or now) - now, 1)

    async def _give_up(self, record: DeliveryRecord, reason: str) -> None:
        now = self.clock.now_ms()
        key = delivery_key(record.account, record.delivery)
        dead = await self.deliveries.change(key, lambda old: abandoned(old or record, reason, now))
        self._say(dead or record, Outcome(error=reason))
        await self.lanes.drop(record.account, record.lane, record.delivery)

    def _say(self, record: DeliveryRecord, outcome: Outcome) -> None:
        # only the host: the paths of many receivers are secrets
        about = {
            "delivery": record.delivery,
            "type": record.type,
            "host": urlsplit(record.url).hostname,
            "tries": record.tries,
        }
        if record.state == "delivered":
            log.info("webhook.delivered", took_ms=outcome.took_ms, **about)
        elif record.state == "dead":
            log.warning("webhook.dead", reason=record.error, **about)
        else:
            log.info("webhook.failed", error=outcome.error, next_ms=record.next_ms, **about)


def _unsendable(record: DeliveryRecord) -> str:
    """Return why a delivery can't be sent, not even by a replay; empty when it can."""
    if record.form not in FORMS:
        return f"there is no form {record.form} here"
    return "" if record.sealed or record.payload else "nothing of what it says is stored"


def _deaf(lane: LaneRecord, after: DeliveryRecord, outcome: Outcome, policy: Policy) -> int:
    """Return how many brief deliveries in a row reached the receiver and were given up."""
    if after.state == "pending" or not after.brief:
        return lane.deaf
    if outcome.delivered:
        return 0
    return min(lane.deaf + 1, policy.brief_tries) if outcome.reached else lane.deaf
