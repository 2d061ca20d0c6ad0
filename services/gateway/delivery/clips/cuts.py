"""Chooses the segments of a clip's playlist. They are all that the clip's own address opens."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from typing import Final

from services.gateway.delivery.index.entries import IndexEntry
from services.gateway.delivery.index.live import LiveIndex
from shared.media.timeline import TOLERANCE, Clocks, Span, joins
from shared.messages.clips import ClipCreate
from shared.messages.jobs import ENDED_STATES, JobRecord
from shared.messages.media import Track
from shared.recording.clip_span import clip_span

# How late the media of a moment may arrive: the longest segment, plus the broker's delay; as for ranges of events.
PATIENCE_MS: Final = 15_000
# How far around a wall-clock range segments are read, to convert it to stream time, ms.
MARGIN_MS: Final = 10_000
# How many segments before and after a moment are looked at to convert it.
NEIGHBOURS: Final = 8
# How far back a keyframe is looked for, s: segments have none when an encoder sends none for long.
FURTHEST: Final = Fraction(600)


@dataclass(frozen=True)
class Cut:
    """The segments of a clip; `complete`: no more will follow. `offset`: s from the first one's start to the in point.

    `track` is None, and there are no segments, while nothing was recorded in the range.
    """

    track: Track | None
    entries: Sequence[IndexEntry]
    complete: bool
    offset: Fraction = Fraction(0)

    @cached_property
    def named(self) -> Mapping[str, str]:
        """The store keys of its segments and of their init segments, by the end of each: session, track and file."""
        keys = (key for entry in self.entries for key in (entry.key, entry.init_key))
        return {"/".join(key.split("/")[2:]): key for key in keys}


def joined(cuts: Sequence[Cut]) -> Cut:
    """Return the cuts of a reel's ranges as one; those in which nothing was recorded have no part in it."""
    known = [cut for cut in cuts if cut.entries]
    if not known:
        return Cut(None, (), complete=cuts[-1].complete)
    entries = [entry for cut in known for entry in cut.entries]
    return Cut(known[0].track, entries, cuts[-1].complete, known[0].offset)


async def cut_of(
    index: LiveIndex, order: ClipCreate, job: JobRecord, now_ms: int, until: Fraction | None = None
) -> Cut:
    """Choose the segments that hold a clip: of the highest rendition, the primary first. IndexChanged: refresh, retry.

    They begin at a keyframe, and end with the segment that holds the last frame; with `until`, not after that moment.
    """
    for track in sorted(index.tracks, key=_rank):
        span, clocks = await _span(index, track, order, job)
        if clocks is None:
            continue
        if until is not None:
            span = Span(span.start, min(span.end, until))
        entries = await index.within(track, span) if span.start < span.end else []
        over = until is not None or _is_over(job) or _is_whole(entries, span)
        over = over or now_ms > clocks.to_wall(span.end) * 1000 + PATIENCE_MS
        if not over:  # it grows: nothing may be inserted between segments that a player has seen
            entries = sorted((e for e in entries if e.number is not None), key=lambda e: e.number or 0)
        if entries:
            entries = await _from_keyframe(index, track, entries)
            return Cut(track, entries, over, max(span.start - entries[0].stream.start, Fraction(0)))
    return Cut(None, (), _is_over(job) or _is_past(index, order, now_ms))


def _is_past(index: LiveIndex, order: ClipCreate, now_ms: int) -> bool:
    """Return whether no segment of a range can come any more, by the newest ones and the time of the request."""
    if not order.wait and now_ms > order.requested_ms + PATIENCE_MS:
        return True
    newest = [entry for track in index.tracks if (entry := index.newest(track)) is not None]
    if order.selection.clock == "wall":
        return any(entry.wall_start_ms > order.selection.end * 1000 + PATIENCE_MS for entry in newest)
    return any(entry.stream.start > order.selection.end + Fraction(PATIENCE_MS, 1000) for entry in newest)


def _rank(track: Track) -> tuple[bool, str]:
    return not track.startswith("primary"), track


def _is_over(job: JobRecord) -> bool:
    """Return whether nothing more is recorded; a static job in `waiting` is between two broadcasts."""
    return job.state in ENDED_STATES or job.state == "waiting" or job.broadcast_over


async def _span(index: LiveIndex, track: Track, order: ClipCreate, job: JobRecord) -> tuple[Span, Clocks | None]:
    """Return the clip's range in stream time, and the clocks of the segments around it (None: there are none)."""
    asked = order.selection
    if asked.clock == "wall":
        first_ms, last_ms = int(asked.start * 1000) - MARGIN_MS, int(asked.end * 1000) + MARGIN_MS
        around = await index.between(track, first_ms, last_ms)
    else:
        margin = Fraction(MARGIN_MS, 1000)
        around = await index.within(track, Span(asked.start - margin, asked.end + margin))
    if not around:
        return Span(asked.start, asked.end), None
    clocks = _clocks(around, order)
    newest = index.newest(track)
    over = job.ended and job.changed_ms <= order.requested_ms
    return clip_span(order, clocks.resolve(asked), clocks, newest.stream.end if newest else None, over=over), clocks


def _clocks(around: Sequence[IndexEntry], order: ClipCreate) -> Clocks:
    """Return the clocks of the segments at the moments that are converted: both points, and the request."""
    walls = [entry.wall_start_ms for entry in around]
    points = [order.requested_ms]
    if order.selection.clock == "wall":
        points += [int(order.selection.start * 1000), int(order.selection.end * 1000)]
    near: set[int] = set()
    for at in (0, len(walls), *(bisect_right(walls, point) for point in points)):
        near.update(range(max(at - NEIGHBOURS, 0), min(at + NEIGHBOURS, len(walls))))
    chosen = (around[at] for at in sorted(near))
    return Clocks.of((entry.stream.start, Fraction(entry.wall_start_ms, 1000)) for entry in chosen)


def _is_whole(entries: Sequence[IndexEntry], span: Span) -> bool:
    """Return whether segments that follow one another hold all of a range: then none can come any more."""
    at = entries[0].stream.start if entries else span.end
    if any(entry.number is None for entry in entries) or at > span.start + TOLERANCE:
        return False
    for before, entry in pairwise(entries):
        if not joins(before, entry) and entry.stream.start > before.stream.end + TOLERANCE:
            return False
    return bool(entries) and entries[-1].stream.end >= span.end


async def _from_keyframe(index: LiveIndex, track: Track, entries: list[IndexEntry]) -> list[IndexEntry]:
    """Add the segments before the first one that its pictures refer to, back to a keyframe."""
    first = entries[0]
    if first.independent:
        return entries
    before: list[IndexEntry] = []
    for entry in reversed(await index.within(track, Span(first.stream.start - FURTHEST, first.stream.start))):
        if not joins(entry, before[-1] if before else first):
            break
        before.append(entry)
        if entry.independent:
            break
    return [*reversed(before), *entries]
