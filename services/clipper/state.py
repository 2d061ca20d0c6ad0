"""A clip's states: which may follow which, and which event each publishes. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from shared.messages.clips import (
    ClipCreate,
    ClipEvent,
    ClipFile,
    ClipRecord,
    ClipStateChanged,
    FrameAccurateReady,
    Gap,
    SegmentAccurateReady,
    VodState,
)
from shared.messages.exports import ExportDelivered

ENDED: Final[frozenset[VodState]] = frozenset({"finished", "cancelled", "failed", "error"})
Change = Callable[[ClipRecord], ClipRecord | None]


def begun(order: ClipCreate, state: VodState, at_ms: int) -> ClipRecord:
    """Return the record of a new clip."""
    return ClipRecord(
        account=order.account,
        clip=order.clip,
        request=order,
        state=state,
        created_ms=order.requested_ms,
        changed_ms=at_ms,
    )


def entering(state: VodState, at_ms: int, error: str = "") -> Change:
    """Enter a state, unless the clip has ended, is in it already, or is being cancelled and the state is not an end."""

    def change(record: ClipRecord) -> ClipRecord | None:
        if record.state in ENDED or record.state == state:
            return None
        if record.state == "cancelling" and state not in ENDED:
            return None
        if record.state == "cancelling" and state == "finished" and record.delivered != "frame":
            return None
        return record.model_copy(
            update={
                "state": state,
                "state_revision": record.state_revision + 1,
                "changed_ms": at_ms,
                "finished_ms": at_ms if state in ENDED else None,
                "error": error[:1024],
            }
        )

    return change


def with_file(file: ClipFile, gaps: tuple[Gap, ...], at_ms: int) -> Change:
    """Add a finished file, unless the clip has ended or has a more exact one."""

    def change(record: ClipRecord) -> ClipRecord | None:
        if record.state in ENDED or (record.file and record.file.accuracy == "frame" and file.accuracy == "segment"):
            return None
        return record.model_copy(update={"file": file, "gaps": gaps, "changed_ms": at_ms})

    return change


def with_delivery(event: ExportDelivered) -> Change:
    """Record where the destination has the file; a late event about a less exact file changes nothing."""

    def change(record: ClipRecord) -> ClipRecord | None:
        if record.delivered == "frame" and event.accuracy == "segment":
            return None
        return record.model_copy(update={"delivered": event.accuracy, "location": event.location})

    return change


def _common(record: ClipRecord) -> dict[str, Any]:
    request = record.request
    return {
        "account": record.account, "clip": record.clip, "event": request.event, "label": request.label,
        "state": record.state, "at_ms": record.changed_ms, "notifications": request.notifications,
        "file": record.file, "gaps": record.gaps, "location": record.location, "error": record.error,
    }  # fmt: skip


def state_event(record: ClipRecord) -> ClipStateChanged:
    """Return the event that reports the clip's present state."""
    return ClipStateChanged(**_common(record), revision=record.state_revision)


def ready_event(record: ClipRecord) -> ClipEvent:
    """Return the event that reports that the present file can be downloaded."""
    kind = FrameAccurateReady if record.file and record.file.accuracy == "frame" else SegmentAccurateReady
    return kind(**_common(record))
