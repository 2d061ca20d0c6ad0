"""Locks on recordings: the gateway's."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from shared.messages.base import AccountId, HexId, Millis, Record

MOST_LOCKS: Final = 1000


class Lock(Record):
    """A range by wall clock, start included, end excluded, that retention spares."""

    from_ms: Millis
    to_ms: Millis

    def touches(self, from_ms: int, to_ms: int) -> bool:
        """Return whether it overlaps a range."""
        return self.from_ms < to_ms and self.to_ms > from_ms


class RecordingLocks(Record):
    """The locks on a recording, in the bucket `locks` under `<account>.<event>`: in order, and none touches another."""

    account: AccountId
    event: HexId
    locks: tuple[Lock, ...] = Field((), max_length=MOST_LOCKS)
