"""The states of a live job: pure rules from a record and what happened to the next record.

```
standby ──started──> processing ──all ended──> disconnected ──started──> processing
                         │stop                      │reconnect_time, stop
                         └─> finishing ──ended──────┴─────────────> finished (static by reconnect_time: waiting)
finished ──started──> processing, by the setting TAKE_UP and within the retention
any before ──cancel──> cancelling (while a session is open) ──ended──> cancelled
```

Sessions form two sets, open and closed, so duplicates and any order of their events lead to the same record. A session
that was declared closed but goes on (its ingester had been cut off) has a higher `resumed` in its next events, which
voids all events with a lower one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from services.gateway.domain.errors import StateConflict
from services.gateway.domain.jobs import activation
from services.gateway.domain.jobs.entering import announced, enter
from shared.messages.jobs import ClosedSession, Ending, JobRecord, Resumption
from shared.messages.live import JobState, JobStateChanged, LiveFinish, SessionEnded, SessionStarted

REMEMBERED_SESSIONS: Final = 64
OPEN_SESSIONS: Final = 256
_PUBLISHABLE: Final = frozenset({"standby", "waiting", "disconnected"})


GoesOn = Callable[[JobRecord, int], bool]


def _never(_job: JobRecord, _at_ms: int) -> bool:
    return False


def started(job: JobRecord, event: SessionStarted, goes_on: GoesOn = _never) -> JobRecord:
    """Apply the start of a session; nothing changes when it is known, closed, or older than all remembered ones.

    A finished job is resumed when `goes_on` is true for it at that time.
    """
    again = goes_on(job, event.at_ms)
    if (job.ended and not again) or _is_void(job, event):
        return job
    job = _resumed(job, event)
    if event.session in job.open_sessions or _is_over(job, event):
        return job
    sessions = (*job.open_sessions, event.session)[-OPEN_SESSIONS:]
    job = _with(job, open_sessions=sessions, session=event.session, entry=activation.begun(job, event))
    return enter(job, "processing", event.at_ms) if again or _may_process(job) else job


def _may_process(job: JobRecord) -> bool:
    return job.state in _PUBLISHABLE and not job.is_inactive


def _is_over(job: JobRecord, event: SessionStarted) -> bool:
    return event.at_ms < job.closed_before_ms or any(c.session == event.session for c in job.closed_sessions)


def _is_void(job: JobRecord, event: SessionStarted | SessionEnded | LiveFinish) -> bool:
    """Return whether the session was resumed after this event, such as the wait after an end that was not final."""
    return any(known.session == event.session and known.epoch > event.resumed for known in job.resumptions)


def _resumed(job: JobRecord, event: SessionStarted | SessionEnded) -> JobRecord:
    """Forget that a session was closed when an event has a higher `resumed` than is known."""
    known = next((known.epoch for known in job.resumptions if known.session == event.session), 0)
    if event.resumed <= known:
        return job
    others = (known for known in job.resumptions if known.session != event.session)
    return _with(
        job,
        resumptions=(*others, Resumption(session=event.session, epoch=event.resumed))[-REMEMBERED_SESSIONS:],
        closed_sessions=tuple(closed for closed in job.closed_sessions if closed.session != event.session),
    )


def ended(job: JobRecord, event: SessionEnded, goes_on: GoesOn = _never) -> JobRecord:
    """Apply the end of a session, even when its start has not been reported yet.

    For a finished job that may be resumed it is only recorded: a start that is reported later then resumes nothing.
    """
    if (job.ended and not goes_on(job, event.at_ms)) or _is_void(job, event):
        return job
    job = _resumed(job, event)
    if any(c.session == event.session for c in job.closed_sessions):
        return job
    if job.ended:
        return _close(job, event.session, event.at_ms)
    if event.at_ms < job.closed_before_ms and event.session not in job.open_sessions:
        return job  # ended long ago
    if _may_process(job) and event.session not in job.open_sessions and not job.open_sessions:
        job = enter(_with(job, session=event.session), "processing", event.at_ms)
    job = _close(job, event.session, event.at_ms)
    return _when_quiet(job, event.at_ms)


def _close(job: JobRecord, session: str, at_ms: int) -> JobRecord:
    closed = sorted((*job.closed_sessions, ClosedSession(session=session, at_ms=at_ms)), key=lambda c: c.at_ms)
    forgotten, closed = closed[:-REMEMBERED_SESSIONS], closed[-REMEMBERED_SESSIONS:]
    return _with(
        job,
        open_sessions=tuple(s for s in job.open_sessions if s != session),
        closed_sessions=tuple(closed),
        closed_before_ms=max([job.closed_before_ms, *(c.at_ms for c in forgotten)]),
        media_end_ms=max(job.media_end_ms or 0, at_ms),
    )


def _when_quiet(job: JobRecord, at_ms: int) -> JobRecord:
    """Enter the next state when no session is open any more."""
    following: dict[str, JobState] = {
        "processing": "disconnected",
        "finishing": "finished",
        "cancelling": "cancelled",
    }
    if job.open_sessions or job.state not in following:
        return job
    if job.state == "finishing" and job.is_inactive:
        return activation.stand_by(job, at_ms)
    return enter(job, following[job.state], at_ms)


def finish(job: JobRecord, command: LiveFinish, live: frozenset[str] = frozenset()) -> JobRecord:
    """Apply the end of a wait. `live`: the sessions that are open by the ingester's records.

    reconnect_time ends the job unless a session other than the command's is open, or ended later; event_length stops
    it; first_publish ends a job that never had a session.
    """
    following = job if job.ended else activation.over(job, command)
    if following is not None:
        return following
    if command.reason == "event_length":
        return stop(job, command.at_ms, "length")
    if command.reason == "first_publish":
        return job if job.session else enter(_with(job, ending="away"), "finished", command.at_ms)
    if job.state not in {"finishing", "cancelling"} and (
        _is_void(job, command) or (set(job.open_sessions) | live) - {command.session}
    ):
        return job
    closed = {c.session: c.at_ms for c in job.closed_sessions}
    if command.session in closed and closed[command.session] < (job.media_end_ms or 0) and job.state == "disconnected":
        return job  # the wait after an earlier session; the later one has its own
    if command.session and command.session not in closed:
        job = _close(job, command.session, command.at_ms)
    return _end(_with(job, open_sessions=()), command.at_ms)


def _end(job: JobRecord, at_ms: int) -> JobRecord:
    if job.state == "cancelling":
        return enter(job, "cancelled", at_ms)
    if job.entry is not None and (job.state != "finishing" or job.is_inactive):
        return activation.stand_by(job, at_ms)
    if job.static and job.state != "finishing":
        return enter(job, "waiting", at_ms)
    return enter(job if job.ending else _with(job, ending="away"), "finished", at_ms)


def stop(job: JobRecord, at_ms: int, ending: Ending = "asked") -> JobRecord:
    """Finish the job: at once without an open session, else when that ends; StateConflict when it was cancelled."""
    if job.state == "finished" or (job.state == "finishing" and not job.is_inactive):
        return job
    if job.ended or job.state == "cancelling":
        raise StateConflict(f"the job is {job.state}")
    if job.entry is not None and job.state == "finishing":  # it was being deactivated
        entry = job.entry.model_copy(update={"state": "active"})
        return announced(_with(job, ending=ending, entry=entry), job.state, at_ms)
    return enter(_with(job, ending=ending), "finishing" if job.open_sessions else "finished", at_ms)


def cancel(job: JobRecord, at_ms: int) -> JobRecord:
    """Cancel the job: at once without an open session, else when that ends; StateConflict when it has finished."""
    if job.state in {"cancelling", "cancelled"}:
        return job
    if job.ended:
        raise StateConflict(f"the job is {job.state}")
    return enter(job, "cancelling" if job.open_sessions else "cancelled", at_ms)


def unannounced(job: JobRecord) -> tuple[JobStateChanged, ...]:
    """Return the events, oldest first, of the revisions not known to be announced; equal on every call."""
    first = job.revision - len(job.history) + 1
    events = []
    for number in range(max(job.announced + 1, first), job.revision + 1):
        at = number - first
        events.append(
            JobStateChanged(
                account=job.account,
                event=job.event,
                state=job.history[at].state,
                previous=job.history[at - 1].state if at else None,
                at_ms=job.history[at].at_ms,
                name=job.name,
                revision=number,
                sep_state=job.history[at].sep_state,
                notifications=job.notifications,
            )
        )
    return tuple(events)


def _with(job: JobRecord, **changes: Any) -> JobRecord:
    return job.model_copy(update=changes)
