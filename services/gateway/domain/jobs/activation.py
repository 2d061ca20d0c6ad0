"""Static entry points: pure rules for activating and deactivating them.

```
standby (inactive) ──activate──> waiting ──started──> processing ⇄ disconnected
   ^                                │ deactivate, or no encoder for too long    │
   └── finishing (deactivating) <───┴───────────────────────────────────────────┘
```
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from services.gateway.domain.errors import StateConflict
from services.gateway.domain.jobs.entering import announced
from shared.messages.jobs import EntryPoint, JobRecord
from shared.messages.live import LiveFinish, SessionStarted
from shared.runtime.clock import TOLERATED_MS

LONGEST_WAIT: Final = timedelta(minutes=30)
"""How long an activation waits for its first encoder."""


def activate(job: JobRecord, at_ms: int) -> JobRecord:
    """Let publishers in; nothing changes when they are already. StateConflict."""
    entry = _entry(job)
    if entry.state == "active":
        return job
    if entry.state == "deactivating":
        raise StateConflict("the entry point is being deactivated: activate it again in a moment")
    entry = EntryPoint(state="active", number=entry.number + 1, activated_ms=max(at_ms, job.changed_ms))
    return announced(_with(job, entry=entry), "waiting", at_ms)


def deactivate(job: JobRecord, at_ms: int) -> JobRecord:
    """Let no publisher in any more, and disconnect the one that is there; StateConflict."""
    entry = _entry(job)
    if entry.state != "active":
        return job
    if not job.open_sessions:
        return stand_by(job, at_ms)
    return announced(_with(job, entry=entry.model_copy(update={"state": "deactivating"})), "finishing", at_ms)


def stand_by(job: JobRecord, at_ms: int) -> JobRecord:
    """Return the job when its activation is over; what was recorded in it can be clipped until the next one."""
    entry = job.entry or EntryPoint()
    return announced(_with(job, entry=entry.model_copy(update={"state": "inactive"})), "standby", at_ms)


def begun(job: JobRecord, event: SessionStarted) -> EntryPoint | None:
    """Return the entry point after a session has started: the first one of an activation tells where it begins.

    One of the activation before may be told late, when this one has begun.
    """
    entry = job.entry
    if entry is None or entry.state != "active" or entry.first_ms is not None:
        return entry
    if event.at_ms < entry.activated_ms - TOLERATED_MS:
        return entry
    return entry.model_copy(update={"first_ms": event.at_ms, "origin_ms": event.origin_ms})


def over(job: JobRecord, command: LiveFinish) -> JobRecord | None:
    """Apply the end of a wait to an entry point: None when it is to be handled as that of any job."""
    if job.entry is None:
        return None
    if job.state in {"finishing", "cancelling"}:
        return None if command.reason == "reconnect_time" else job
    if _is_void(job, job.entry, command):
        return job
    return None if command.reason == "reconnect_time" else deactivate(job, command.at_ms)


def _is_void(job: JobRecord, entry: EntryPoint, command: LiveFinish) -> bool:
    """Return whether a wait belongs to an earlier activation, or the entry point is inactive already."""
    if entry.state != "active" or command.at_ms < entry.activated_ms:
        return True
    if command.reason == "first_publish":
        return entry.number != command.resumed or entry.first_ms is not None
    ended = next((c.at_ms for c in job.closed_sessions if c.session == command.session), None)
    return command.reason == "reconnect_time" and ended is not None and ended < entry.activated_ms


def no_encoder(job: JobRecord) -> LiveFinish | None:
    """Return the command that ends an activation to which no encoder comes; None when there is nothing to wait for."""
    entry = job.entry
    if entry is None or entry.state != "active" or entry.first_ms is not None:
        return None
    longest = LONGEST_WAIT // timedelta(milliseconds=1)
    if job.event_length_s:
        longest = min(longest, max(job.event_length_s, job.reconnect_time_s) * 1000)
    return LiveFinish(
        account=job.account, event=job.event, reason="first_publish", at_ms=entry.activated_ms + longest,
        resumed=entry.number,
    )  # fmt: skip


def _entry(job: JobRecord) -> EntryPoint:
    if job.entry is None:
        raise StateConflict("the job is no static entry point" if not job.static else "the job is always active")
    if job.ended or job.state == "cancelling" or (job.state == "finishing" and job.entry.state == "active"):
        raise StateConflict(f"the job is {job.state}")
    return job.entry


def _with(job: JobRecord, **changes: Any) -> JobRecord:
    return job.model_copy(update=changes)
