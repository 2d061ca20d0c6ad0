"""The record of each restream, and what must follow from it: schedules and events.

These are not atomic with the write of the record. So schedules are set from the record after its write, and again if
it has changed meanwhile (ADR 6), and events stay in the record until the broker has acknowledged them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from services.restreamer.decide import ACTIVE, apply
from services.restreamer.following import clock_commands, event_of, refusal_of
from shared.broker.bus import Outbox
from shared.broker.kv import Bucket, Conflict
from shared.messages.restream_commands import RestreamCommand
from shared.messages.restreams import RestreamRecord
from shared.runtime.clock import Clock
from shared.runtime.logging import get_logger

log = get_logger()
MOST_ROUNDS: Final = 20
LATE: Final = timedelta(seconds=10)
KEPT: Final = timedelta(days=30)
Change = Callable[[RestreamRecord | None], RestreamRecord | None]


def restream_key(account: str, restream: str) -> str:
    """Return a restream's key in the buckets `restreams` and `playouts`."""
    return f"{account}.{restream}"


def is_left_behind(record: RestreamRecord, now_ms: int) -> bool:
    """Return whether an instance died between a write and what follows from it, or a schedule did not fire."""
    before = now_ms - LATE // timedelta(milliseconds=1)
    spec = record.spec
    late_start = record.state == "scheduled" and (spec.start_ms or before) < before
    late_end = record.state in ACTIVE and (spec.end_ms or before) < before
    return late_start or late_end or (bool(record.untold) and record.changed_ms < before)


def is_forgotten(record: RestreamRecord, now_ms: int) -> bool:
    """Return whether a restream has been over for longer than `KEPT`, so that its record can be deleted."""
    over_ms = None if record.state in ACTIVE or record.untold else record.finished_ms
    return over_ms is not None and over_ms < now_ms - KEPT // timedelta(milliseconds=1)


@dataclass(slots=True)
class RestreamRecords:
    """Applies commands and changes, sets schedules and publishes events. Raises Unavailable if the broker is away."""

    bucket: Bucket[RestreamRecord]
    outbox: Outbox
    clock: Clock

    async def apply(self, command: RestreamCommand) -> None:
        """Apply a command. Log one that changes nothing; schedules and events are updated in any case."""
        key = restream_key(command.account, command.restream)
        while await self._applied(key, command):
            log.info("restream.ended.first", account=command.account, restream=command.restream)

    async def _applied(self, key: str, command: RestreamCommand) -> bool:
        """Apply a command, set schedules and publish events. Return whether to apply it again."""
        said, untold = "", False

        def how(old: RestreamRecord | None) -> RestreamRecord | None:
            nonlocal said, untold
            untold = bool(old and old.untold and command.verb in {"start", "resume"})
            if untold:
                return None  # the next run's record would lose the unpublished events
            outcome = apply(old, command, self.clock.now_ms())
            said = outcome if isinstance(outcome, str) else ""
            return None if isinstance(outcome, str) else outcome

        record = await self.bucket.change(key, how)
        if untold:
            await self.keep(key)
            return True
        about = {"account": command.account, "restream": command.restream, "verb": command.verb}
        about["command"] = command.command
        if said or record is None:
            log.info("restream.command.nothing", reason=said, **about)
            if record is not None and (event := refusal_of(record, command, said)):
                await self.outbox.emit(event)
        else:
            log.info("restream.command.applied", state=record.state, reason=record.reason, run=record.run, **about)
        if record is not None:
            await self.keep(key)
        return not said and record is not None and command.command not in record.commands

    async def change(self, key: str, how: Change) -> None:
        """Change a record, set its schedules and publish its events."""
        before: list[RestreamRecord | None] = []

        def noted(old: RestreamRecord | None) -> RestreamRecord | None:
            before[:] = [old]
            return how(old)

        after = await self.bucket.change(key, noted)
        if after is not None and (after is not before[0] or after.untold):
            await self.keep(key)

    async def keep(self, key: str) -> None:
        """Set the schedules that the record asks for, and publish its events."""
        for _ in range(MOST_ROUNDS):
            stored = await self.bucket.get(key)
            if stored is None:
                return
            must = clock_commands(stored.value)
            for name, command in must.items():
                if command:
                    await self.outbox.schedule(name, command.at_ms, command)
                else:
                    await self.outbox.unschedule(stored.value.account, name)
            await self._tell(key, stored.value)
            latest = await self.bucket.get(key)
            if latest is None or (clock_commands(latest.value) == must and not latest.value.untold):
                return
        raise Conflict(f"restream {key} keeps changing")

    async def forget(self, key: str) -> None:
        """Delete a record unless its restream was started again."""
        stored = await self.bucket.get(key)
        if stored and is_forgotten(stored.value, self.clock.now_ms()):
            await self.bucket.delete(key, stored.revision)
            log.info("restream.forgotten", account=stored.value.account, restream=stored.value.restream)

    async def _tell(self, key: str, record: RestreamRecord) -> None:
        for news in record.untold:
            await self.outbox.emit(event_of(record, news))
        told = {news.number for news in record.untold}

        def rest(old: RestreamRecord | None) -> RestreamRecord | None:
            left = tuple(n for n in old.untold if n.number not in told) if old else ()
            return old.model_copy(update={"untold": left}) if old and len(left) < len(old.untold) else None

        if told:
            await self.bucket.change(key, rest)
