"""Whether the broker really takes messages: by what became of the last ones, and by a write of readiness's own.

Both are needed. A stream whose file could not be written takes nothing more, but is read as ever, and others go on; so
only a write into that stream tells. And a service that has nothing to write would not know that the broker is stuck.

The time that the broker puts on that write also tells how far the machine's clock is off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import PubAck
from nats.js.errors import APIError

from shared.broker.streams import DEADLETTERS
from shared.broker.subjects import failure_subject
from shared.runtime.clock import BrokerClock, Clock, to_ns
from shared.runtime.logging import get_logger

log = get_logger()
KEPT: Final = timedelta(seconds=3)
COMPARE: Final = timedelta(seconds=10)
WRITE: Final = timedelta(milliseconds=1500)
TTL: Final = "10m"
REMEMBERED: Final = timedelta(seconds=15)
UNAVAILABLE: Final = 503


class Writes:
    """Remembers which messages the broker did not take, for 15 s or until it takes one of that kind."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failed_ns: dict[str, int] = {}

    def note(self, subject: str, error: Exception | None = None) -> None:
        """Note what became of a message; one that the broker judged and sent back has been taken."""
        kind = ".".join(subject.split(".")[:2])
        if error is None or (isinstance(error, APIError) and error.code != UNAVAILABLE):
            self._failed_ns.pop(kind, None)
        else:
            self._failed_ns[kind] = self._clock.monotonic_ns()

    def refused(self) -> list[str]:
        """Name what was not taken, by the beginning of its subject."""
        oldest = self._clock.monotonic_ns() - to_ns(REMEMBERED)
        return sorted(kind for kind, at_ns in self._failed_ns.items() if at_ns > oldest)


class NotingJetStream(JetStreamContext):
    """A JetStream context that notes what becomes of its messages, those of buckets too."""

    writes: Writes

    async def publish(self, subject: str, *args: Any, **kwargs: Any) -> PubAck:
        """Publish as ever."""
        try:
            ack = await super().publish(subject, *args, **kwargs)
        except (NatsError, OSError) as error:
            self.writes.note(subject, error)
            raise
        self.writes.note(subject)
        return ack


def probe_name(service: str) -> str:
    """Name what a service's own write stands under, where consumers note failed tries."""
    return f"{service}-readiness"


class WriteProbe:
    """Writes one message a service, over the last one, where services note failed tries and no consumer reads."""

    def __init__(self, jetstream: Callable[[], JetStreamContext], service: str, clock: Clock) -> None:
        self._jetstream = jetstream
        self._subject = failure_subject(probe_name(service), 0)
        self._clock = clock
        self._lock = asyncio.Lock()
        self._good_ns: int | None = None
        self._written: tuple[int, int, int] | None = None  # sequence, and the machine's clock before and after

    async def __call__(self) -> str:
        """Say what is wrong, "" when nothing is; a good answer serves for 3 s."""
        async with self._lock:
            now_ns = self._clock.monotonic_ns()
            if self._good_ns is not None and now_ns - self._good_ns < to_ns(KEPT):
                return ""
            fault = await self._write()
            self._good_ns = None if fault else now_ns
            return fault

    async def _write(self) -> str:
        before_ms = self._machine_ms()
        try:
            ack = await self._jetstream().publish(
                self._subject, b"{}", timeout=WRITE.total_seconds(), stream=DEADLETTERS, headers={"Nats-TTL": TTL}
            )
        except (NatsError, TimeoutError, OSError):
            return "does not take messages"
        self._written = (ack.seq, before_ms, self._machine_ms())
        return ""

    def _machine_ms(self) -> int:
        return self._clock.uncorrected_ms() if isinstance(self._clock, BrokerClock) else 0

    async def compare(self) -> None:
        """Compare the machine's clock with the time that the broker put on the last write."""
        clock, written = self._clock, self._written
        if written is None or not isinstance(clock, BrokerClock):
            return
        sequence, before_ms, after_ms = written
        try:
            stored = await self._jetstream().get_last_msg(DEADLETTERS, self._subject, direct=True)
        except (NatsError, APIError, TimeoutError, OSError):
            return  # a broker whose users were made by an older version may not allow it, either
        headers = stored.headers or {}
        if stored.seq != sequence or "Nats-Time-Stamp" not in headers:  # another instance has written since
            return
        stamp_ms = int(datetime.fromisoformat(headers["Nats-Time-Stamp"]).timestamp() * 1000)
        if clock.compare(before_ms, stamp_ms, after_ms):
            log.warning("clock.corrected", ahead_of_broker_ms=clock.skew_ms)

    async def comparing(self) -> None:
        """Write and compare every 10 s, until the task is cancelled."""
        while True:
            await asyncio.sleep(COMPARE.total_seconds())
            await self()
            await self.compare()


def notes_on(clock: Clock) -> dict[str, str]:
    """Say what an operator should mend though all works: a clock that is more than a second off the broker's."""
    if not isinstance(clock, BrokerClock) or not clock.skew_ms:
        return {}
    side = "ahead of" if clock.skew_ms > 0 else "behind"
    return {"clock": f"{abs(clock.skew_ms) / 1000:.1f} s {side} the broker's, corrected for"}
