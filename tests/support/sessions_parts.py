"""The parts of an ingester's sessions: leases, records, and an outbox that keeps messages."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from typing import Any

from nats.js import JetStreamContext

from services.ingester.feed import SessionRecords
from services.ingester.leases import Lease, Leases
from shared.broker.kv import Bucket
from shared.errors import Unavailable
from shared.messages.base import Message
from shared.messages.sessions import EventClock, PublisherStatus, SessionRecord

ACCOUNT = "main"


class Spy:
    """An outbox that keeps messages, and fails on request."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.fail = 0
        self.look: Any = lambda _message: None

    async def emit(self, message: Message) -> int:
        if self.fail:
            self.fail -= 1
            raise Unavailable("away")
        self.look(message)
        self.sent.append(message)
        return len(self.sent)


def leases(js: JetStreamContext, instance: str, host: str = "") -> Leases:
    return Leases(Bucket(lambda: js, "leases", Lease), instance, host or f"host-{instance}")


def records(js: JetStreamContext) -> SessionRecords:
    kept = partial(Bucket, lambda: js, "sessions")
    return SessionRecords(kept(SessionRecord), kept(EventClock), kept(PublisherStatus))


def begun(session: str, event: str) -> SessionRecord:
    return SessionRecord(
        account=ACCOUNT, event=event, session=session, protocol="rtmp", instance="a", first_frame_ms=1000, origin_ms=0
    )


def dead_process() -> int:
    """Return the id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid
