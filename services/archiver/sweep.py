"""The hourly sweep over all recordings: closes hours that are still open, deletes what has passed retention."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.errors import APIError

from services.archiver.compaction import Compactor
from services.archiver.records import RecordingRecords
from services.archiver.retention import Retention
from services.archiver.slots import GRACE_MS, slot_of
from shared.broker.streams import SEGMENTS
from shared.errors import ReelayError, Unavailable
from shared.messages.media import SegmentWritten
from shared.recording.log import newest
from shared.runtime.clock import Clock
from shared.runtime.logging import get_logger

log = get_logger()


class Sweeper:
    """Goes over every recording that has a record, segments in the log, or sessions."""

    def __init__(
        self,
        js: Callable[[], JetStreamContext],
        records: RecordingRecords,
        compactor: Compactor,
        retention: Retention,
        clock: Clock,
    ) -> None:
        self._js = js
        self._records = records
        self._compactor = compactor
        self._retention = retention
        self._clock = clock

    async def sweep(self) -> None:
        """Sweep all recordings; a failing one does not hold up others, and Unavailable is raised at the end."""
        recordings = {(record.account, record.event) for record in await self._records.recordings()}
        recordings |= await self._logged()
        recordings |= {(session.account, session.event) for session in await self._records.sessions()}
        failed = 0
        for account, event in sorted(recordings):
            (error,) = await asyncio.gather(self._sweep(account, event), return_exceptions=True)
            if isinstance(error, Exception):  # of any kind, also an unexpected one
                failed += 1
                trace = None if isinstance(error, ReelayError) else error
                kind = type(error).__name__
                log.error("recording.sweep.failed", event_id=event, kind=kind, error=str(error), exc_info=trace)
            elif error is not None:
                raise error
        log.info("recording.sweep.done", recordings=len(recordings), failed=failed)
        if failed:
            raise Unavailable(f"{failed} of {len(recordings)} recordings could not be swept")

    async def _sweep(self, account: str, event: str) -> None:
        """Do each step even when an earlier one fails with Unavailable, so that old hours also leave a full disk."""
        put_off: Unavailable | None = None
        for step in (self._rebuild, self._compact, self._retention.expire, self._retention.tidy):
            try:
                await step(account, event)
            except Unavailable as error:
                put_off = put_off or error
        if put_off is not None:
            raise put_off

    async def _rebuild(self, account: str, event: str) -> None:
        rebuilder = self._compactor.rebuilder
        if missing := await rebuilder.missing(account, event):
            await rebuilder.rebuild(account, event, missing)

    async def _compact(self, account: str, event: str) -> None:
        last = await newest(self._js(), account, event)
        quiet = last is not None and slot_of(last.segment.wall_start_ms) < slot_of(self._clock.now_ms() - GRACE_MS)
        await self._compactor.compact(account, event, everything=quiet or await self._records.ended(account, event))

    async def _logged(self) -> set[tuple[str, str]]:
        """Return (account, event) of all events that have segments in the log."""
        try:
            info = await self._js().stream_info(SEGMENTS, subjects_filter=f"{SegmentWritten.channel}.>")
        except (NatsError, APIError, TimeoutError, OSError) as error:
            raise Unavailable(f"SEGMENTS: {type(error).__name__}") from error
        parts = [subject.split(".") for subject in info.state.subjects or {}]
        return {(part[-2], part[-1]) for part in parts}
