"""The ranges that clips request: each resolved in the recording of its own job."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from functools import partial
from typing import Final, NamedTuple

from nats.js import JetStreamContext

from services.gateway.domain.clips.bounds import Bounds
from services.gateway.domain.clips.window import ClipRange, Recording, TimecodeRange, resolve
from services.gateway.domain.errors import Fault, Invalid, NotFound, gathered, invalid
from services.gateway.domain.jobs.jobs import Jobs
from shared.media.timeline import locate
from shared.messages.clips import LONGEST_CLIP, MOST_RANGES
from shared.messages.jobs import JobRecord
from shared.messages.media import SegmentWritten
from shared.messages.ranges import ReelRange
from shared.recording import last_segment

MOST_OF_ALL: Final = 1000  # in one request: each may be of another recording


@dataclass(frozen=True, slots=True)
class NewRange:
    """A requested range of a job's recording; `field` is its name in the request. `own`: it names the job itself."""

    field: str
    job: str
    range: ClipRange | TimecodeRange
    own: bool = False


class _Footage(NamedTuple):
    """What ranges of a job are resolved in."""

    job: JobRecord
    last: SegmentWritten | None
    recording: Recording


class Ranges:
    """Resolves the ranges of a request."""

    def __init__(self, jetstream: Callable[[], JetStreamContext], jobs: Jobs, bounds: Bounds) -> None:
        self._jetstream = jetstream
        self._jobs = jobs
        self._bounds = bounds

    async def resolve(self, account: str, asked: Sequence[Sequence[NewRange]]) -> list[tuple[ReelRange, ...]]:
        """Return the ranges of each clip; NotFound for the job of a whole request, Invalid for what else is wrong."""
        every = [one for ranges in asked for one in ranges]
        if len(every) > MOST_OF_ALL + sum(len(ranges) == 1 for ranges in asked):
            raise invalid("outputs", f"have at most {MOST_OF_ALL} ranges together")
        resolved: dict[str, ReelRange] = {}
        for job in dict.fromkeys(one.job for one in every):
            of_job = [one for one in every if one.job == job]
            resolved |= await self._of_job(account, job, of_job)
        return [tuple(resolved[one.field] for one in ranges) for ranges in asked]

    async def _of_job(self, account: str, job: str, asked: Sequence[NewRange]) -> dict[str, ReelRange]:
        footage = await self._footage(account, job, asked[0])
        settled = await self._bounds.timecodes.settle(
            account, job, [one.range for one in asked], footage.recording.zero
        )
        made = gathered(partial(_resolved, *pair, footage) for pair in zip(asked, settled, strict=True))
        return {one.field: found for one, found in zip(asked, made, strict=True)}

    async def _footage(self, account: str, job: str, asked: NewRange) -> _Footage:
        """Read a job's recording; what is wrong with it is said of the range that names it."""
        try:
            found = await self._jobs.get(account, job)
            last = await last_segment(self._jetstream(), account, job)
            return _Footage(found, last, await self._bounds.of(found, last))
        except (NotFound, Invalid) as error:
            if not asked.own:
                raise
            code = error.code if isinstance(error, Invalid) else ""
            raise invalid(f"{asked.field}.live_job_id", str(error), code=code) from error


def check_together(field: str, ranges: Sequence[ReelRange]) -> None:
    """Check what the ranges of one clip have together; Invalid."""
    if len(ranges) > MOST_RANGES:
        raise invalid(f"{field}.ranges", f"must have at most {MOST_RANGES} entries")
    if total(ranges) > LONGEST_CLIP // timedelta(seconds=1):
        raise invalid(f"{field}.ranges", "are more than 48 hours together")


def total(ranges: Iterable[ReelRange]) -> Fraction:
    """Return the duration of ranges together, as asked, s."""
    return sum((one.asked_duration for one in ranges), Fraction(0))


def _resolved(asked: NewRange, span: ClipRange | Invalid, footage: _Footage) -> ReelRange:
    """Resolve a range; Invalid names fields as in the request."""
    try:
        if isinstance(span, Invalid):
            raise span
        window = resolve(span, footage.recording)
    except Invalid as error:
        faults = (Fault(f"{asked.field}.{fault.field}", fault.why) for fault in error.faults)
        raise Invalid(*faults, code=error.code) from error
    return ReelRange(
        event=asked.job,
        selection=window.selection,
        asked_duration=window.asked_duration,
        live=not footage.job.ended,  # a static job between two streams, too: nothing from after the request is in it
        recorded_to=locate(footage.last).end if footage.last else None,
        wait=window.wait,
        zero=footage.recording.zero,
    )
