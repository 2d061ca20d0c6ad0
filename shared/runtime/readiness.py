"""Whether the broker really accepts messages: by the results of the last publishes, and by a test write.

Both are needed. A stream whose file could not be written accepts nothing more, but can still be read, and other
streams work; so only a write into that stream shows it. And a service that has nothing to write would not notice that
the broker is stuck.

The broker's time stamp on the test write also shows how far the machine's clock is off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import PubAck
from nats.js.errors import APIError

from shared.broker.streams import DEADLETTERS
from shared.broker.subjects import failure_subject
from shared.runtime.clock import BrokerClock, Clock
from shared.runtime.logging import get_logger

log = get_logger()
KEPT_NS: Final = 3_000_000_000
COMPARE_S: Final = 10.0
WRITE_S: Final = 1.5
TTL: Final = "10m"
REMEMBERED_NS: Final = 15_000_000_000
UNAVAILABLE: Final = 503


class Writes:
    """Remembers which messages the broker did not accept, for 15 s or until it accepts one of that kind."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failed_ns: dict[str, int] = {}

    def note(self, subject: str, error: Exception | None = None) -> None:
        """Record the result of a publish; a message that the broker rejected counts as accepted."""
        kind = ".".join(subject.split(".")[:2])
        if error is None or (isinstance(error, APIError) and error.code != UNAVAILABLE):
            self._failed_ns.pop(kind, None)
        else:
            self._failed_ns[kind] = self._clock.monotonic_ns()

    def refused(self) -> list[str]:
        """Return the kinds of messages that were not accepted: the first two tokens of their subjects."""
        oldest = self._clock.monotonic_ns() - REMEMBERED_NS
        return sorted(kind for kind, at_ns in self._failed_ns.items() if at_ns > oldest)


class NotingJetStream(JetStreamContext):
    """A JetStream context that records the results of its publishes, those of buckets too."""

    writes: Writes

    async def publish(self, subject: str, *args: Any, **kwargs: Any) -> PubAck:
        """Publish and record the result."""
        try:
            ack = await super().publish(subject, *args, **kwargs)
        except (NatsError, OSError) as error:
            self.writes.note(subject, error)
            raise
        self.writes.note(subject)
        return ack


def probe_name(service: str) -> str:
    """Return the name of a service's test write; it takes the place of a consumer in a failure subject."""
    return f"{service}-readiness"


class WriteProbe:
    """Writes one message per service, replacing the last one, among recorded failures, which no consumer reads."""

    def __init__(self, jetstream: Callable[[], JetStreamContext], service: str, clock: Clock) -> None:
        self._jetstream = jetstream
        self._subject = failure_subject(probe_name(service), 0)
        self._clock = clock
        self._lock = asyncio.Lock()
        self._good_ns: int | None = None
        self._written: tuple[int, int, int] | None = None  # sequence, and the machine's clock before and after

    async def __call__(self) -> str:
        """Return the fault, "" when there is none; a good result is reused for 3 s."""
        async with self._lock:
            now_ns = self._clock.monotonic_ns()
            if self._good_ns is not None and now_ns - self._good_ns < KEPT_NS:
                return ""
            fault = await self._write()
            self._good_ns = None if fault else now_ns
            return fault

    async def _write(self) -> str:
        before_ms = self._machine_ms()
        try:
            ack = await self._jetstream().publish(
                self._subject, b"{}", timeout=WRITE_S, stream=DEADLETTERS, headers={"Nats-TTL": TTL}
            )
        except (NatsError, TimeoutError, OSError):
            return "does not take messages"
        self._written = (ack.seq, before_ms, self._machine_ms())
        return ""

    def _machine_ms(self) -> int:
        return self._clock.uncorrected_ms() if isinstance(self._clock, BrokerClock) else 0

    async def compare(self) -> None:
        """Compare the machine's clock with the broker's time stamp on the last write."""
        clock, written = self._clock, self._written
        if written is None or not isinstance(clock, BrokerClock):
            return
        sequence, before_ms, after_ms = written
        try:
            stored = await self._jetstream().get_last_msg(DEADLETTERS, self._subject, direct=True)
        except (NatsError, APIError, TimeoutError, OSError):
            return  # nor may a broker allow it whose users come from an older version
        headers = stored.headers or {}
        if stored.seq != sequence or "Nats-Time-Stamp" not in headers:  # another instance has written since
            return
        stamp_ms = int(datetime.fromisoformat(headers["Nats-Time-Stamp"]).timestamp() * 1000)
        if clock.compare(before_ms, stamp_ms, after_ms):
            log.warning("clock.corrected", ahead_of_broker_ms=clock.skew_ms)

    async def comparing(self) -> None:
        """Write and compare every 10 s, until the task is cancelled."""
        while True:
            await asyncio.sleep(COMPARE_S)
            await self()
            await self.compare()


def notes_on(clock: Clock) -> dict[str, str]:
    """Return a note for the operator when the clock is more than a second off the broker's."""
    if not isinstance(clock, BrokerClock) or not clock.skew_ms:
        return {}
    side = "ahead of" if clock.skew_ms > 0 else "behind"
    return {"clock": f"{abs(clock.skew_ms) / 1000:.1f} s {side} the broker's, corrected for"}
