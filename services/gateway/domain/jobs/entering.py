"""Entering a state: the next revision of a job, and a line of its history."""

from __future__ import annotations

from typing import Final

from shared.messages.jobs import ENDED_STATES, JobRecord, StateChange
from shared.messages.live import JobState

HISTORY: Final = 500


def enter(job: JobRecord, state: JobState, at_ms: int) -> JobRecord:
    """Enter a state, with the next revision and a line of history; nothing changes when the job is in it already."""
    return job if job.state == state else announced(job, state, at_ms)


def announced(job: JobRecord, state: JobState, at_ms: int) -> JobRecord:
    """Return the job in a state, with the next revision and a line of history, which is announced."""
    at_ms = max(at_ms, job.changed_ms)
    over = state in ENDED_STATES
    job = job.model_copy(
        update={
            "state": state,
            "revision": job.revision + 1,
            "changed_ms": at_ms,
            "finished_ms": (job.media_end_ms or at_ms) if over else None,
            "ending": job.ending if over or state == "finishing" else "",
        }
    )
    line = StateChange(state=state, at_ms=at_ms, sep_state=job.sep_state)
    return job.model_copy(update={"history": (*job.history, line)[-HISTORY:]})
