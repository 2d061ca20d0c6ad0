"""Finds the moment of a recording that a picture is wanted of: in a gap, the beginning of what follows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Literal

from services.gateway.delivery.index.entries import IndexEntry
from services.gateway.delivery.index.live import IndexChanged, LiveIndex
from services.gateway.delivery.parts import Delivery
from services.gateway.delivery.views import nothing_yet
from services.gateway.domain.errors import NotFound, NotReady
from shared.media.timeline import Span
from shared.messages.jobs import JobRecord
from shared.messages.media import Track
from shared.messages.recordings import HourSummary

TRIES: Final = 3
MOST_HOURS: Final = 3
"""So many closed hours after a gap are read for its end; others are empty only while they are rebuilt."""
_MS: Final = Fraction(1, 1000)
Clock = Literal["stream", "wall"]


@dataclass(frozen=True, slots=True)
class Moment:
    """A recorded moment: of a track, in stream time (s) and by the wall clock (ms); `skipped` s of a gap before it."""

    track: Track
    stream: Fraction
    wall_ms: int
    skipped: Fraction = Fraction(0)


async def newest_moment(delivery: Delivery, account: str, event: str) -> Moment:
    """Return the beginning of the newest segment, so that all who ask meanwhile get the same picture; NotFound."""
    job = await delivery.job(account, event)
    index = await delivery.index(account, event)
    track = _track(index, job)
    newest = index.newest(track)
    if newest is None or not await _is_there(index, newest):
        raise nothing_yet(job)
    return Moment(track, newest.stream.start, newest.wall_start_ms)


async def find_moment(delivery: Delivery, account: str, event: str, clock: Clock, at: Fraction) -> Moment:
    """Return a moment in s of a clock: the epoch's, or the stream's; NotFound, NotReady while it is to come."""
    job = await delivery.job(account, event)
    index = await delivery.index(account, event)
    track = _track(index, job)
    for _ in range(TRIES):
        try:
            found = await _at(index, track, clock, at) or await _after(index, track, clock, at)
        except IndexChanged:
            continue
        if found is None:
            raise _beyond(job)
        return found
    raise IndexChanged("the recording's index keeps changing")


def _track(index: LiveIndex, job: JobRecord) -> Track:
    tracks = [track for track in index.tracks if track.startswith("primary")] or list(index.tracks)
    if not tracks:
        raise nothing_yet(job)
    return tracks[0]


async def _is_there(index: LiveIndex, entry: IndexEntry) -> bool:
    return await index.has(entry.session, entry.track, entry.sequence)


async def _at(index: LiveIndex, track: Track, clock: Clock, at: Fraction) -> Moment | None:
    """Return a moment that is recorded; None in a gap."""
    if clock == "stream":
        entries = await index.within(track, Span(at, at + _MS))
        hit = next((entry for entry in reversed(entries) if entry.stream.start <= at < entry.stream.end), None)
        return None if hit is None else Moment(track, at, hit.wall_start_ms + int((at - hit.stream.start) * 1000))
    entries = await index.between(track, int(at * 1000), int(at * 1000) + 1)
    for entry in reversed(entries):
        into = at - Fraction(entry.wall_start_ms, 1000)
        if 0 <= into < entry.stream.end - entry.stream.start:
            return Moment(track, entry.stream.start + into, int(at * 1000))
    return None


async def _after(index: LiveIndex, track: Track, clock: Clock, at: Fraction) -> Moment | None:
    """Return the beginning of the first segment after a moment."""

    def begins(entry: IndexEntry) -> Fraction:
        return entry.stream.start if clock == "stream" else Fraction(entry.wall_start_ms, 1000)

    later = [entry for entry in index.tail if entry.track == track and begins(entry) > at]
    for hour in sorted(filter(_ends_after(clock, at), index.hours), key=lambda one: one.hour)[:MOST_HOURS]:
        closed = [entry for entry in await index.hour(hour) if entry.track == track and begins(entry) > at]
        if closed:
            later += closed
            break
    first = min(later, key=begins, default=None)
    if first is None:
        return None
    return Moment(track, first.stream.start, first.wall_start_ms, begins(first) - at)


def _ends_after(clock: Clock, at: Fraction) -> Callable[[HourSummary], bool]:
    return lambda hour: (hour.stream_end_ms if clock == "stream" else hour.wall_end_ms) > at * 1000


def _beyond(job: JobRecord) -> NotFound:
    if job.ended:
        return NotFound("the recording ends before this moment")
    return NotReady("this moment has not been recorded yet")
