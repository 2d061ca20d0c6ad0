"""A clip's states and its deliveries: which may follow which, and which event each publishes. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from shared.messages.base import Accuracy
from shared.messages.clips import (
    ClipCreate,
    ClipDelivery,
    ClipEvent,
    ClipFile,
    ClipRecord,
    ClipStateChanged,
    FrameAccurateReady,
    SegmentAccurateReady,
    VodState,
)
from shared.messages.exports import (
    ExportAborted,
    ExportDeliver,
    ExportDelivered,
    ExportFailed,
    ExportMessage,
    ExportStarted,
)
from shared.messages.ranges import Gap

ENDED: Final[frozenset[VodState]] = frozenset({"finished", "cancelled", "failed", "error"})
WAITING: Final[frozenset[VodState]] = frozenset({"waiting", "waiting_finish_live"})
_RANK: Final[Mapping[Accuracy, int]] = {"segment": 0, "frame": 1}
ExportEnd = ExportAborted | ExportDelivered | ExportFailed
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
        deliveries=tuple(ClipDelivery(export=o.export, type=o.type, shown=o.shown) for o in order.destinations),
    )


def entering(state: VodState, at_ms: int, error: str = "") -> Change:
    """Enter a state, unless the clip has ended, is in it already, or is being cancelled and the state is not an end."""

    def change(record: ClipRecord) -> ClipRecord | None:
        if record.state in ENDED or record.state == state:
            return None
        if record.state == "cancelling" and state not in ENDED:
            return None
        if record.state == "cancelling" and state == "finished" and not all_delivered(record):
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


def settling(order: ClipCreate) -> Change:
    """Take the range of a clip that was ordered with its job, unless it has ended or has its range."""

    def change(record: ClipRecord) -> ClipRecord | None:
        if record.state in ENDED or record.request.after_live is None:
            return None
        return record.model_copy(update={"request": order})

    return change


def dropped(at_ms: int) -> Change:
    """Cancel a clip that waits for what its job, which was cancelled, will not bring."""

    def change(record: ClipRecord) -> ClipRecord | None:
        if record.state not in WAITING:
            return None
        return entering("cancelled", at_ms, "its live job was cancelled before the clip was begun")(record)

    return change


def lacks(record: ClipRecord, accuracy: Accuracy) -> bool:
    """Return whether a clip still waits for a file: it has none that is as exact, and has not ended."""
    has = -1 if record.file is None else _RANK[record.file.accuracy]
    return record.state not in ENDED and has < _RANK[accuracy]


def with_file(file: ClipFile, gaps: tuple[Gap, ...], at_ms: int) -> Change:
    """Add a finished file, unless the clip has ended or has a more exact one."""

    def change(record: ClipRecord) -> ClipRecord | None:
        if record.state in ENDED or (record.file and record.file.accuracy == "frame" and file.accuracy == "segment"):
            return None
        return record.model_copy(update={"file": file, "gaps": gaps, "changed_ms": at_ms})

    return change


def progressed(percent: int) -> Change:
    """Record how far a clip is; it never goes back."""

    def change(record: ClipRecord) -> ClipRecord | None:
        if record.state in ENDED or record.progress >= percent:
            return None
        return record.model_copy(update={"progress": percent})

    return change


def with_delivery(event: ExportStarted | ExportEnd) -> Change:
    """Record what an event says about one destination. Late events, and those of other exports, change nothing."""

    def change(record: ClipRecord) -> ClipRecord | None:
        lines = tuple(_after(line, event) if line.export == event.export else line for line in record.deliveries)
        return None if lines == record.deliveries else record.model_copy(update={"deliveries": lines})

    return change


def _after(line: ClipDelivery, event: ExportMessage) -> ClipDelivery:
    """Return a destination's line after an event; events come in any order, and twice."""
    change = _what_changes(line, event)
    return line.model_copy(update=change | {"changed_ms": getattr(event, "at_ms", 0)}) if change else line


def _what_changes(line: ClipDelivery, event: ExportMessage) -> dict[str, Any]:
    over = has_ended(line)
    if isinstance(event, ExportAborted):
        return {} if over else {"state": "aborted", "error": ""}
    if line.accuracy and _RANK[line.accuracy] >= _RANK[event.accuracy]:
        return {}  # a late event about the file that is there, or about a less exact one
    if isinstance(event, ExportDelivered):
        there = {"accuracy": event.accuracy, "location": event.location}
        return there if over and event.accuracy == "segment" else there | {"state": "delivered", "error": ""}
    if over:
        return {}
    if isinstance(event, ExportFailed):  # that of the fast file alone is no end: the exact one may still arrive
        return {"state": "failed" if event.accuracy == "frame" else "waiting", "error": event.error}
    is_new = isinstance(event, ExportStarted) and event.at_ms >= line.changed_ms
    return {"state": "delivering"} if is_new else {}


def needs_recording(record: ClipRecord) -> bool:
    """Return whether a file of the clip is still to be cut from the recording."""
    exact = record.file is not None and record.file.accuracy == "frame"
    return not (record.request.instant or exact or record.state in ENDED)


def has_ended(line: ClipDelivery) -> bool:
    """Return whether a destination has the exact file, or will never get it."""
    return line.state in {"failed", "aborted"} or (line.state == "delivered" and line.accuracy == "frame")


def all_ended(record: ClipRecord) -> bool:
    """Return whether no destination waits for a file any more."""
    return all(has_ended(line) for line in record.deliveries)


def all_delivered(record: ClipRecord) -> bool:
    """Return whether every destination has the exact file."""
    return all(line.state == "delivered" and line.accuracy == "frame" for line in record.deliveries)


def outcome(record: ClipRecord) -> tuple[VodState, str] | None:
    """Return the state, and why, in which a clip ends by its deliveries; None while one of them may still arrive.

    A destination that its client aborted is as if it had not been asked for; without any other, the clip is cancelled.
    """
    if not all_ended(record):
        return None
    reasons = [
        f"not delivered to {asked.shown or asked.type}: {line.error}"
        for asked, line in zip(record.request.destinations, record.deliveries, strict=True)
        if line.state == "failed"
    ]
    if reasons:
        return "failed", "; ".join(reasons)
    return ("finished" if any(line.state == "delivered" for line in record.deliveries) else "cancelled"), ""


def _common(record: ClipRecord) -> dict[str, Any]:
    request = record.request
    return {
        "account": record.account, "clip": record.clip, "event": request.event, "label": request.label,
        "state": record.state, "at_ms": record.changed_ms, "notifications": request.notifications,
        "note": request.note, "file": record.file,
        "gaps": record.gaps, "deliveries": record.deliveries, "error": record.error,
    }  # fmt: skip


def state_event(record: ClipRecord) -> ClipStateChanged:
    """Return the event that reports the clip's present state."""
    return ClipStateChanged(**_common(record), revision=record.state_revision)


def ready_event(record: ClipRecord) -> ClipEvent:
    """Return the event that reports that the present file can be downloaded."""
    kind = FrameAccurateReady if record.file and record.file.accuracy == "frame" else SegmentAccurateReady
    return kind(**_common(record))


def deliveries(record: ClipRecord, file: ClipFile) -> Iterator[ExportDeliver]:
    """Yield the orders to deliver a file, one a destination."""
    for destination in record.request.destinations:
        yield ExportDeliver(
            account=record.account, export=destination.export, clip=record.clip, accuracy=file.accuracy,
            source_key=file.key, bytes=file.bytes, sha256=file.sha256, destination=destination,
        )  # fmt: skip


def file_key(record: ClipRecord, accuracy: Accuracy) -> str:
    """Return the store key of a clip's file."""
    return f"clips/{record.account}/{record.clip}/{accuracy}.mp4"
