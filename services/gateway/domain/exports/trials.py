"""Trials of stored credentials: the exporter, which alone speaks to destinations, tries them and says what is wrong."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from nats.js import JetStreamContext

from services.gateway.domain.destinations.destinations import OPENED_BY, Destinations, NewDestination, Stored
from services.gateway.domain.errors import NoAnswer, TooMany, invalid
from services.gateway.domain.soon import soon
from shared.broker import buckets
from shared.broker.bus import Outbox
from shared.broker.kv import Bucket
from shared.messages.credentials import CredentialRecord
from shared.messages.exports import CredentialTest, CredentialTestRecord
from shared.runtime.clock import Clock

PATIENCE: Final = timedelta(seconds=35)
"""The exporter gives up after 30 s, and says so."""
LOOK: Final = timedelta(milliseconds=100)
AT_ONCE: Final = 4
FILE_NAME: Final = "reelay-test.mp4"


class Trials:
    """Requests trials and waits for their results; an account has AT_ONCE at a time in this gateway."""

    def __init__(
        self,
        jetstream: Callable[[], JetStreamContext],
        outbox: Outbox,
        destinations: Destinations,
        clock: Clock,
        patience: timedelta = PATIENCE,
    ) -> None:
        self._results = Bucket(jetstream, buckets.CREDENTIAL_TESTS, CredentialTestRecord)
        self._outbox = outbox
        self._destinations = destinations
        self._clock = clock
        self._running: Counter[str] = Counter()
        self.patience = patience

    async def run(self, record: CredentialRecord, asked: NewDestination) -> CredentialTestRecord:
        """Try credentials at a destination. Invalid, TooMany, or NoAnswer when no exporter answers."""
        if not any(record.type in kinds for kinds in OPENED_BY.values()):
            raise invalid("", f"credentials of type {record.type} are for no destination: there is nothing to try")
        if asked.url is None and asked.videocloud is None:
            raise invalid("url", "is missing: where the credentials are to be tried")
        test, account = uuid.uuid4().hex, record.account
        spec = self._destinations.spec(test, FILE_NAME, asked, Stored([record]), unpinned=True)
        if self._running[account] >= AT_ONCE:
            raise TooMany("QUOTA_EXCEEDED", f"the account has {AT_ONCE} trials running", timedelta(seconds=5))
        self._running[account] += 1
        try:
            await self._outbox.emit(
                CredentialTest(account=account, test=test, destination=spec, at_ms=self._clock.now_ms())
            )
            return await self._result(f"{account}.{test}")
        finally:
            self._running[account] -= 1

    async def _result(self, key: str) -> CredentialTestRecord:
        found: list[CredentialTestRecord] = []

        async def is_there() -> bool:
            if stored := await self._results.get(key):
                found.append(stored.value)
            return bool(found)

        if not await soon(is_there, self.patience, LOOK):
            raise NoAnswer("no exporter has answered; try again later")
        return found[0]
