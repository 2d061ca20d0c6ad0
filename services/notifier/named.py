"""The receivers that an event itself names: those of a clip, of a live job, or of a job's output."""

from __future__ import annotations

from typing import Any, Final

from shared.messages.base import Message, Notification, NotifyEvent
from shared.messages.clips import ClipStateChanged, SegmentAccurateReady
from shared.messages.live import JobStateChanged
from shared.messages.outputs import OutputState, output_state
from shared.messages.restreams import RestreamEvent, RestreamStateChanged, RestreamTargetChanged

OUTPUT_FINISHED: Final = frozenset({"finished", "cancelled", "failed", "error"})


def named_in(event: Message) -> tuple[Notification, ...]:
    """Return the receivers."""
    output = event.output if isinstance(event, RestreamEvent) else None
    found: tuple[Notification, ...] = output.notifications if output else getattr(event, "notifications", ())
    return found


def naming(event: Message, receivers: tuple[Notification, ...]) -> Message:
    """Return the event with other receivers."""
    changes: dict[str, Any] = {"notifications": receivers}
    if isinstance(event, RestreamEvent) and event.output:
        changes = {"output": event.output.model_copy(update=changes)}
    return event.model_copy(update=changes)


def state_of(event: Message) -> OutputState | None:
    """Return the state that a job's output has entered; None when the event is about something else."""
    if isinstance(event, RestreamStateChanged) and event.output and event.state != "playing":
        return output_state(event.state, None, reached=False)
    if isinstance(event, RestreamTargetChanged) and event.output and event.status.state != "removed":
        state = output_state("playing", event.status, reached=event.again)
        return None if state == "starting" else state  # its run has told that
    return None


def happened(event: Message) -> set[NotifyEvent]:
    """Return an event's names in requests."""
    if isinstance(event, RestreamEvent):
        return {"rtmp_output_state_changed"} if state_of(event) else set()
    if isinstance(event, JobStateChanged):
        first = event.state == "processing" and event.previous in {"standby", "waiting"}
        return {"state_changed", "first_segment_uploaded"} if first else {"state_changed"}
    if isinstance(event, SegmentAccurateReady):
        return {"first_segment_uploaded"}
    if not isinstance(event, ClipStateChanged):
        return set()
    return {"state_changed", "output_finished"} if event.state in OUTPUT_FINISHED else {"state_changed"}
