"""When a delivery is tried again, and when it is given up. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from shared.messages.notifications import Attempt, DeliveryRecord

GONE: Final = 410
STANDARD: Final = "standard"
"""The form in which 410 means that a delivery is not wanted."""
_MS: Final = timedelta(milliseconds=1)
KEPT_ATTEMPTS: Final = 32
LEAST_TRIES: Final = 2


@dataclass(frozen=True, slots=True)
class Policy:
    """When and how long deliveries are tried. The last delay repeats until `lifetime` is over; then one last try.

    Waits below `shortest_schedule` are redeliveries of the current message, longer ones are message schedules. A try
    has the timeouts `connect` for its connection and `whole` in total; its lane is free again after at most `hold`.

    A brief delivery is given up after `brief_tries` that reached its receiver, at most `brief_pause` apart, so that the
    next one gets its turn: many receivers send answers that their form does not accept. A receiver that cannot be
    reached at all would not get the next one either, and is tried for `brief_lifetime`.
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
    brief_tries: int = 4
    brief_pause: timedelta = timedelta(seconds=30)
    brief_lifetime: timedelta = timedelta(hours=1)
    jitter: float = 0.1
    shortest_schedule: timedelta = timedelta(seconds=10)
    connect: timedelta = timedelta(seconds=5)
    whole: timedelta = timedelta(seconds=15)
    hold: timedelta = timedelta(seconds=30)

    def deadline_ms(self, now_ms: int, *, brief: bool) -> int:
        """Return when a delivery that starts now is given up at the latest."""
        return now_ms + (self.brief_lifetime if brief else self.lifetime) // _MS

    def tries_left(self, deaf: int) -> int:
        """Return how often a brief delivery is tried after `deaf` given-up ones in a row to its receiver."""
        return max(self.brief_tries - deaf, min(LEAST_TRIES, self.brief_tries))


DEFAULT: Final = Policy()


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one try. `delivered`: the receiver has it; `reached`: there was a connection."""

    status: int | None = None
    error: str = ""
    retry_after: timedelta | None = None
    took_ms: int = 0
    delivered: bool = False
    reached: bool = True

    def spares(self, *, brief: bool) -> bool:
        """Return whether the result counts as a failure of the receiver, which then gets fewer requests.

        An answer that does not accept a brief delivery does not count: those are few, and each has its turn.
        """
        return not self.delivered and not (brief and self.status is not None)


def settled(record: DeliveryRecord, outcome: Outcome, now_ms: int, policy: Policy, deaf: int = 0) -> DeliveryRecord:
    """Return the record after a try: delivered, dead, or pending with the time of the next try.

    `deaf` is how many brief deliveries in a row its lane gave up before.
    """
    attempt = Attempt(at_ms=now_ms, status=outcome.status, error=outcome.error[:512], duration_ms=outcome.took_ms)
    tried = record.model_copy(
        update={
            "attempts": (*record.attempts, attempt)[-KEPT_ATTEMPTS:],
            "tries": record.tries + 1,
            "heard": record.heard + outcome.reached,
            "next_ms": None,
        }
    )
    if outcome.delivered:
        return tried.model_copy(update={"state": "delivered", "finished_ms": now_ms, "error": ""})
    if record.brief and tried.heard >= policy.tries_left(deaf):
        return abandoned(tried, f"not accepted in {tried.heard} tries; at last: {outcome.error}", now_ms)
    if outcome.status == GONE and record.form == STANDARD and not record.brief:
        return abandoned(tried, "410 Gone: the receiver wants no more of these", now_ms)
    if now_ms >= record.deadline_ms:
        return abandoned(tried, f"not delivered in time; at last: {outcome.error}", now_ms)
    pause = _delay(tried.tries, policy)
    asked = outcome.retry_after or timedelta(0)
    pause = min(pause, policy.brief_pause) if record.brief else max(pause, asked)
    return tried.model_copy(update={"next_ms": min(now_ms + max(pause // _MS, 1), record.deadline_ms)})


def abandoned(record: DeliveryRecord, reason: str, now_ms: int) -> DeliveryRecord:
    """Return the record of a delivery after it is given up."""
    return record.model_copy(update={"state": "dead", "finished_ms": now_ms, "next_ms": None, "error": reason[:512]})


def replayed(record: DeliveryRecord, wish_ms: int, now_ms: int, policy: Policy) -> DeliveryRecord | None:
    """Return the record of a delivery to send again; None when this request, or a later one, was applied before."""
    if record.replayed_ms is not None and record.replayed_ms >= wish_ms:
        return None
    fresh = {"state": "pending", "tries": 0, "heard": 0, "next_ms": None, "finished_ms": None, "error": ""}
    until = policy.deadline_ms(now_ms, brief=record.brief)
    return record.model_copy(update={**fresh, "replayed_ms": wish_ms, "deadline_ms": until})


def _delay(tries: int, policy: Policy) -> timedelta:
    delay = policy.delays[min(tries, len(policy.delays)) - 1]
    return timedelta(seconds=delay.total_seconds() * (1 + policy.jitter * random.random()))
