"""Numbers for the segments of an hour that is rebuilt: those that they had, as players may have seen them.

Numbers are a fold over the log (shared/recording/numbering.py). Where the log still has the hour, the same fold over
the same messages gives the same numbers, from what the hours around it say. Where it has not, segments count in the
order of the wall clock, and those that were not found count, too, so that what lies behind keeps its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from services.archiver.finding import Found
from shared.media.timeline import Identity, identity, joins
from shared.messages.jobs import HourSummary, RecordingRecord
from shared.messages.media import IndexedSegment, SegmentWritten, Track
from shared.recording.hours import hour_of
from shared.recording.log import Logged
from shared.recording.numbering import Numbering


class _Unplaced(NamedTuple):
    """A segment with its place in the log, or the last that the hour may have."""

    log: int
    segment: SegmentWritten


@dataclass(frozen=True, slots=True)
class Renumbering:
    """Numbers one hour's segments. `known` are the indexed segments of the other hours."""

    record: RecordingRecord
    hour: HourSummary
    known: Sequence[IndexedSegment]

    def number(self, found: Found, logged: Sequence[Logged]) -> list[IndexedSegment]:
        """Give the segments found their places; `logged` is what the log has of the event."""
        if found.from_files or found.missing:
            numbered = self._by_wall_clock(found)
            seeded = {track for track, last in self._before().items() if last is not None}
        else:
            first = min(one.log for one in found.logged.values())
            seeds = _newest(i for i in self.known if i.log < first)
            numbered = self._by_log(found, logged, first, seeds)
            seeded = set(seeds)
        tracks = sorted({indexed.segment.track for indexed in numbered})
        return [
            indexed
            for track in tracks
            for indexed in self._aligned(
                track, [i for i in numbered if i.segment.track == track], seeded=track in seeded
            )
        ]

    def _by_log(
        self, found: Found, logged: Sequence[Logged], first: int, seeds: dict[Track, IndexedSegment]
    ) -> list[IndexedSegment]:
        """Fold over the log once more; what the hours before had by then is there already."""
        there = {identity(indexed.segment) for indexed in self.known if indexed.log < first}
        numbering, made = Numbering(seeds.values()), dict[Identity, IndexedSegment]()
        for one in logged:
            name = identity(one.segment)
            if first <= one.log <= self.hour.log_sequence and name not in there:
                indexed = numbering.add(one)
                if indexed is not None and name in found.logged:
                    made[name] = indexed
        return list(made.values())

    def _before(self) -> dict[Track, IndexedSegment]:
        return _newest(i for i in self.known if hour_of(i.segment.wall_start_ms) < self.hour.hour)

    def _by_wall_clock(self, found: Found) -> list[IndexedSegment]:
        """Give numbers in the order in which segments were made."""
        every = [_Unplaced(one.log, one.segment) for one in found.logged.values()]
        every += [_Unplaced(self.hour.log_sequence, segment) for segment in found.from_files.values()]
        every.sort(key=lambda u: (u.segment.track, u.segment.wall_start_ms, u.segment.session, u.segment.sequence))
        before = self._before()
        numbered: list[IndexedSegment] = []
        for track, group in groupby(every, key=lambda u: u.segment.track):
            lost = {name for name in found.missing if name.track == track}
            last = before.get(track)
            for log, segment in group:
                gone = {n for n in lost if (n.session == segment.session and n.sequence < segment.sequence)
                        or (last is not None and n.session == last.segment.session != segment.session)}  # fmt: skip
                lost -= gone
                number = len(gone) + (0 if last is None or last.number is None else last.number + 1)
                seams = 0 if last is None else last.discontinuity + (not joins(last.segment, segment))
                last = IndexedSegment(log=log, number=number, discontinuity=seams, segment=segment)
                numbered.append(last)
        return numbered

    def _aligned(self, track: Track, segments: Sequence[IndexedSegment], *, seeded: bool) -> list[IndexedSegment]:
        """Shift what begins from nothing to what follows it, or to what the record says of the newest."""
        numbered = [i for i in segments if i.number is not None]
        if seeded or not numbered:
            return list(segments)
        newest = max(numbered, key=lambda i: i.number or 0)
        told = next((i for i in self.record.last if i.segment.track == track), None)
        after = [i for i in self.known if i.segment.track == track and i.number is not None
                 and hour_of(i.segment.wall_start_ms) > self.hour.hour]  # fmt: skip
        same = next((i for i in numbered if told and identity(i.segment) == identity(told.segment)), None)
        if after:
            following = min(after, key=lambda i: i.number or 0)
            numbers = (following.number or 0) - 1 - (newest.number or 0)
            seams = following.discontinuity - (not joins(newest.segment, following.segment)) - newest.discontinuity
        elif told is not None and same is not None:
            numbers, seams = (told.number or 0) - (same.number or 0), told.discontinuity - same.discontinuity
        else:
            return list(segments)
        return [
            indexed.model_copy(update={
                "number": None if indexed.number is None else max(indexed.number + numbers, 0),
                "discontinuity": max(indexed.discontinuity + seams, 0),
            })
            for indexed in segments
        ]  # fmt: skip


def _newest(known: Iterable[IndexedSegment]) -> dict[Track, IndexedSegment]:
    """Give each track's numbered segment that came last."""
    found: dict[Track, IndexedSegment] = {}
    for indexed in known:
        track = indexed.segment.track
        if indexed.number is not None and (track not in found or indexed.number > (found[track].number or 0)):
            found[track] = indexed
    return found


def beside(own: Sequence[IndexedSegment], found: Sequence[IndexedSegment]) -> list[IndexedSegment]:
    """Add what was found to what an hour has, which keeps its places: players may have seen them."""
    there = {identity(indexed.segment): indexed for indexed in own}
    taken = {(indexed.segment.track, indexed.number) for indexed in own}
    made: list[IndexedSegment] = list(own)
    for indexed in found:
        known = there.get(identity(indexed.segment))
        if known is not None and known.segment != indexed.segment:  # the whole of what was salvaged short
            made[made.index(known)] = known.model_copy(update={"log": indexed.log, "segment": indexed.segment})
        elif known is None and (indexed.segment.track, indexed.number) in taken:
            made.append(indexed.model_copy(update={"number": None}))
        elif known is None:
            made.append(indexed)
    return made
