"""Exports of a clip: how far they are, and their abort."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from nats.js import JetStreamContext

from services.gateway.domain.clips.clips import KnownClip
from services.gateway.domain.errors import StateConflict, no_such
from services.gateway.domain.soon import soon
from shared.broker import buckets
from shared.broker.bus import Outbox
from shared.broker.kv import Bucket
from shared.messages.exports import ExportAbort, ExportRecord
from shared.runtime.clock import Clock


class Exports:
    """Reads the exporter's records, and requests aborts."""

    def __init__(self, jetstream: Callable[[], JetStreamContext], outbox: Outbox, clock: Clock) -> None:
        self._records = Bucket(jetstream, buckets.EXPORTS, ExportRecord)
        self._outbox = outbox
        self._clock = clock

    async def sent(self, known: KnownClip) -> dict[str, int]:
        """Return the bytes that a clip's destinations have taken, by export; those that have not begun are absent."""
        account = known.request.account
        exports = [spec.export for spec in known.request.destinations]
        found = await asyncio.gather(*(self._records.get(f"{account}.{export}") for export in exports))
        return {one.value.export: one.value.sent for one in found if one is not None}

    async def abort(self, known: KnownClip, export: str) -> bool:
        """Request the abort of one export; return whether it is done already. NotFound, or StateConflict when over."""
        request = known.request
        if export not in {spec.export for spec in request.destinations}:
            raise no_such("destination")
        state = await self._state(known, export)
        if state == "aborted":
            return True
        if state in {"delivered", "failed"} and self._is_over(known, export):
            raise StateConflict(f"the destination is {state}")
        await self._outbox.emit(
            ExportAbort(account=request.account, export=export, clip=request.clip, at_ms=self._clock.now_ms())
        )

        async def is_aborted() -> bool:
            return await self._state(known, export) == "aborted"

        return await soon(is_aborted)

    async def _state(self, known: KnownClip, export: str) -> str:
        stored = await self._records.get(f"{known.request.account}.{export}")
        return stored.value.state if stored else "waiting"

    @staticmethod
    def _is_over(known: KnownClip, export: str) -> bool:
        """Return whether nothing more will be sent: it failed for good, or has the exact file."""
        lines = known.record.deliveries if known.record else ()
        return any(
            line.export == export
            and (line.state == "failed" or (line.state == "delivered" and line.accuracy == "frame"))
            for line in lines
        )
