"""When a delivery is tried again, and when it is given up. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from shared.messages.notifications import Attempt, DeliveryRecord

GONE: Final = 410
_MS: Final = timedelta(milliseconds=1)
KEPT_ATTEMPTS: Final = 32


@dataclass(frozen=True, slots=True)
class Policy:
    """How patient the notifier is. The last delay repeats until `lifetime` is over; the last try is at its end.

    Waits below `shortest_schedule` are redeliveries of the message in hand, longer ones are message schedules. A try
    gets `connect` for its connection and `whole` for everything; `hold` is when its lane is free again at the latest.
    """

    delays: tuple[timedelta, ...] = (
        timedelta(seconds=5),
        timedelta(seconds=30),
        timedelta(minutes=2),
        timedelta(minutes=10),
        timedelta(minutes=30),
        timedelta(hours=1),
        timedelta(hours=2),
        timedelta(hours=4),
    )
    lifetime: timedelta = timedelta(hours=24)
    jitter: float = 0.1
    shortest_schedule: timedelta = timedelta(seconds=10)
    connect: timedelta = timedelta(seconds=5)
    whole: timedelta = timedelta(seconds=15)
    hold: timedelta = timedelta(seconds=30)


DEFAULT: Final = Policy()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one try."""

    status: int | None = None
    error: str = ""
    retry_after: timedelta | None = None
    took_ms: int = 0

    @property
    def delivered(self) -> bool:
        """The receiver has it: any 2xx."""
        return self.status is not None and 200 <= self.status < 300


def settled(record: DeliveryRecord, outcome: Outcome, now_ms: int, policy: Policy) -> DeliveryRecord:
    """Give the record after a try: delivered, dead, or pending with the time of the next try."""
    attempt = Attempt(at_ms=now_ms, status=outcome.status, error=outcome.error[:512], duration_ms=outcome.took_ms)
    tried = record.model_copy(
        update={"attempts": (*record.attempts, attempt)[-KEPT_ATTEMPTS:], "tries": record.tries + 1, "next_ms": None}
    )
    if outcome.delivered:
        return tried.model_copy(update={"state": "delivered", "finished_ms": now_ms, "error": ""})
    if outcome.status == GONE:
        return abandoned(tried, "410 Gone: the receiver wants no more of these", now_ms)
    if now_ms >= record.deadline_ms:
        return abandoned(tried, f"not delivered in time; at last: {outcome.error}", now_ms)
    pause = max(_delay(tried.tries, policy), outcome.retry_after or timedelta(0))
    return tried.model_copy(update={"next_ms": min(now_ms + max(pause // _MS, 1), record.deadline_ms)})


def abandoned(record: DeliveryRecord, reason: str, now_ms: int) -> DeliveryRecord:
    """Give the record of a delivery that is given up."""
    return record.model_copy(update={"state": "dead", "finished_ms": now_ms, "next_ms": None, "error": reason[:512]})


def replayed(record: DeliveryRecord, wish_ms: int, now_ms: int, policy: Policy) -> DeliveryRecord | None:
    """Give the record of a delivery that shall be sent again; None when that wish, or a later one, is known."""
    if record.replayed_ms is not None and record.replayed_ms >= wish_ms:
        return None
    fresh = {"state": "pending", "tries": 0, "next_ms": None, "finished_ms": None, "error": "", "replayed_ms": wish_ms}
    return record.model_copy(update={**fresh, "deadline_ms": now_ms + policy.lifetime // _MS})


def _delay(tries: int, policy: Policy) -> timedelta:
    delay = policy.delays[min(tries, len(policy.delays)) - 1]
    return timedelta(seconds=delay.total_seconds() * (1 + policy.jitter * random.random()))
