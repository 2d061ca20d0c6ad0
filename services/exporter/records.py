"""The exports' records: which delivery may change which, and what is kept for the next try."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from shared.broker.kv import Bucket
from shared.messages.base import Accuracy
from shared.messages.exports import ExportAbort, ExportDeliver, ExportRecord
from shared.runtime.clock import Clock

_RANK: Final[Mapping[Accuracy, int]] = {"segment": 0, "frame": 1}


def yields(order: ExportDeliver, before: ExportRecord | None) -> bool:
    """Return whether a more exact file is there or may be: its delivery has started and has not failed."""
    return before is not None and before.state != "failed" and _has_more(order, before)


def _has_more(order: ExportDeliver, before: ExportRecord) -> bool:
    """Return whether a record is that of a more exact file."""
    return _RANK[before.accuracy] > _RANK[order.accuracy]


def refused(order: ExportDeliver, before: ExportRecord) -> bool:
    """Return whether a delivery must not begin, or go on."""
    return before.state == "aborted" or yields(order, before)


def is_done(order: ExportDeliver, before: ExportRecord | None) -> bool:
    """Return whether this very file has been delivered."""
    return before is not None and before.state == "delivered" and before.accuracy == order.accuracy


def note_of(order: ExportDeliver, record: ExportRecord) -> str:
    """Return the note that an earlier try of this accuracy left; empty when there is none."""
    return record.resume if record.accuracy == order.accuracy else record.left


@dataclass(frozen=True, slots=True)
class Exports:
    """Reads and changes the records by compare-and-set. Raises Unavailable."""

    bucket: Bucket[ExportRecord]
    clock: Clock

    async def of(self, order: ExportDeliver) -> ExportRecord | None:
        """Return an export's record; None when there is none."""
        stored = await self.bucket.get(_key(order))
        return stored.value if stored else None

    async def begin(self, order: ExportDeliver) -> ExportRecord:
        """Record that a file is being delivered, unless that is refused; return the record as it is then."""

        def write(before: ExportRecord | None) -> ExportRecord | None:
            if before and refused(order, before):
                return None
            same = before if before and before.accuracy == order.accuracy and before.state == "delivering" else None
            left, overtakes = (before.left, before.overtakes) if before else ("", False)
            if before and before.accuracy != order.accuracy:
                left, overtakes = before.resume, before.state == "delivering"
            return self._record(order).model_copy(update={
                "location": before.location if before else "", "left": left, "overtakes": overtakes,
                "sent": same.sent if same else 0, "resume": same.resume if same else "",
            })  # fmt: skip

        record = await self.bucket.change(_key(order), write)
        return record or self._record(order)

    async def note(self, order: ExportDeliver, sent: int, resume: str) -> None:
        """Record how far a delivery is, while it is the one that counts; of one that does not, what it will leave."""

        def write(before: ExportRecord | None) -> ExportRecord | None:
            if before is None:
                return None
            if before.accuracy != order.accuracy or before.state == "aborted":
                name = "resume" if before.accuracy == order.accuracy else "left"
                is_to_go = refused(order, before) and resume != getattr(before, name)
                return before.model_copy(update={name: resume}) if is_to_go else None
            if before.state != "delivering":
                return None
            return before.model_copy(update={"sent": sent, "resume": resume, "changed_ms": self.clock.now_ms()})

        await self.bucket.change(_key(order), write)

    async def stepped_aside(self, order: ExportDeliver) -> None:
        """Record that no less exact file is on its way any more: a more exact one waits for that."""

        def write(before: ExportRecord | None) -> ExportRecord | None:
            if before is None or not before.overtakes or before.accuracy == order.accuracy:
                return None
            return before.model_copy(update={"overtakes": False})

        await self.bucket.change(_key(order), write)

    async def forget(self, order: ExportDeliver) -> None:
        """Drop the note of this accuracy: what it named has been removed."""

        def write(before: ExportRecord | None) -> ExportRecord | None:
            if before is None or not note_of(order, before):
                return None
            return before.model_copy(update={"resume" if before.accuracy == order.accuracy else "left": ""})

        await self.bucket.change(_key(order), write)

    async def delivered(self, order: ExportDeliver, location: str) -> ExportRecord:
        """Record that a file is at its destination, unless a more exact one is; return the record as it is then.

        An abort that came too late does not hide that the file is there; that of a fast file's export still counts, as
        the exact one is not to come.
        """

        def write(before: ExportRecord | None) -> ExportRecord | None:
            if yields(order, before):
                return None
            stays = before is not None and before.state == "aborted" and order.accuracy != "frame"
            done = {"state": "aborted" if stays else "delivered", "location": location, "sent": order.bytes}
            return self._record(order).model_copy(update=done | {"left": before.left if before else ""})

        record = await self.bucket.change(_key(order), write)
        return record or self._record(order)

    async def failed(self, order: ExportDeliver, reason: str) -> ExportRecord | None:
        """Record that a delivery was given up, unless it was aborted or another one counts; return the record."""

        def write(before: ExportRecord | None) -> ExportRecord | None:
            if before and (refused(order, before) or is_done(order, before) or _has_more(order, before)):
                return None
            kept = before or self._record(order)
            update = {"state": "failed", "error": reason, "accuracy": order.accuracy, "source_key": order.source_key}
            return kept.model_copy(update=update | {"changed_ms": self.clock.now_ms()})

        return await self.bucket.change(_key(order), write)

    async def abort(self, order: ExportAbort) -> ExportRecord | None:
        """Record that an export is to stop, unless it has ended; return the record as it is then.

        The failure of a fast file is no end: the exact one still comes.
        """

        def write(before: ExportRecord | None) -> ExportRecord | None:
            if before is None:
                return ExportRecord(
                    account=order.account, export=order.export, clip=order.clip, state="aborted", accuracy="frame",
                    changed_ms=self.clock.now_ms(),
                )  # fmt: skip
            if before.state == "aborted" or (before.accuracy == "frame" and before.state in {"delivered", "failed"}):
                return None
            return before.model_copy(update={"state": "aborted", "changed_ms": self.clock.now_ms()})

        return await self.bucket.change(f"{order.account}.{order.export}", write)

    def _record(self, order: ExportDeliver) -> ExportRecord:
        return ExportRecord(
            account=order.account, export=order.export, clip=order.clip, state="delivering", accuracy=order.accuracy,
            source_key=order.source_key, bytes=order.bytes, changed_ms=self.clock.now_ms(),
        )  # fmt: skip


def _key(order: ExportDeliver) -> str:
    return f"{order.account}.{order.export}"
