"""Numbers for the segments of a rebuilt hour: the ones they had before, as players may have seen them.

Numbers are a fold over the log (shared/recording/numbering.py). While the log still has the hour, the same fold over
the same messages yields the same numbers, starting from the hours around it. Otherwise segments are numbered by wall
clock, and missing ones are counted too, so that later segments keep their numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from services.archiver.finding import Found
from shared.media.timeline import Identity, identity, joins
from shared.messages.media import IndexedSegment, SegmentWritten, Track
from shared.messages.recordings import HourSummary, RecordingRecord
from shared.recording.hours import hour_of
from shared.recording.log import Logged
from shared.recording.numbering import Numbering


class _Unplaced(NamedTuple):
    """A segment with its sequence in the log, or the highest that the hour may have."""

    log: int
    segment: SegmentWritten


@dataclass(frozen=True, slots=True)
class Renumbering:
    """Numbers one hour's segments. `known` are the indexed segments of the other hours.

    `own` are segments that the hour has: they keep their numbers, which players may have seen.
    """

    record: RecordingRecord
    hour: HourSummary
    known: Sequence[IndexedSegment]
    own: Sequence[IndexedSegment] = ()

    def number(self, found: Found, logged: Sequence[Logged]) -> list[IndexedSegment]:
        """Return the found segments with their numbers; `logged` are the event's segments in the log."""
        if found.from_files or found.missing:
            numbered = self._by_wall_clock(found)
            seeded = {track for track, last in self._before().items() if last is not None}
        else:
            first = min(one.log for one in found.logged.values())
            seeds = _newest(i for i in self.known if i.log < first)
            numbered = self._by_log(found, logged, first, seeds)
            seeded = set(seeds)
        tracks = sorted({indexed.segment.track for indexed in numbered})
        placed = [
            indexed
            for track in tracks
            for indexed in self._placed(
                track, [i for i in numbered if i.segment.track == track], found.missing, seeded=track in seeded
            )
        ]
        return _beside(self.own, placed)

    def _by_log(
        self, found: Found, logged: Sequence[Logged], first: int, seeds: dict[Track, IndexedSegment]
    ) -> list[IndexedSegment]:
        """Repeat the fold over the log, without segments that earlier hours already had by then."""
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
        """Return the segments, numbered in the order in which they were made."""
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

    def _placed(
        self, track: Track, segments: Sequence[IndexedSegment], missing: frozenset[Identity], *, seeded: bool
    ) -> list[IndexedSegment]:
        """Shift numbers to match the other hours; no number is used twice."""
        taken = {i.number for i in self.known if i.segment.track == track}
        numbered = [i for i in segments if i.number is not None]
        before = self._before().get(track)
        gap = 0 if before is None else self._between(track, hour_of(before.segment.wall_start_ms), self.hour.hour)
        right = not self.own and ((seeded and not gap) or self._is_first())
        if not numbered or (right and not any(i.number in taken for i in numbered)):
            return list(segments)
        newest = max(numbered, key=lambda i: i.number or 0)
        shift = (
            self._to_own(numbered)
            or self._to_following(track, newest, missing)
            or self._to_last(track, numbered, missing)
            or (gap, 0)
        )
        numbers = max(shift[0], -min(i.number or 0 for i in numbered))
        moved = [_moved(indexed, numbers, shift[1]) for indexed in segments]
        return [i.model_copy(update={"number": None}) if i.number in taken else i for i in moved]

    def _is_first(self) -> bool:
        """Return whether numbering began in this hour."""
        record = self.record
        return not record.expired_hours and not record.expiring and record.hours[0].hour == self.hour.hour

    def _to_own(self, numbered: Sequence[IndexedSegment]) -> tuple[int, int] | None:
        """Return the shift of numbers and discontinuities with which the hour's own segments keep theirs."""
        own = {identity(i.segment): i for i in self.own if i.number is not None}
        for one in numbered:
            if (same := own.get(identity(one.segment))) is not None:
                return (same.number or 0) - (one.number or 0), same.discontinuity - one.discontinuity
        return None

    def _to_following(
        self, track: Track, newest: IndexedSegment, missing: frozenset[Identity]
    ) -> tuple[int, int] | None:
        """Return the shift with which the following hours continue this one."""
        after = [i for i in self.known if i.segment.track == track and i.number is not None
                 and hour_of(i.segment.wall_start_ms) > self.hour.hour]  # fmt: skip
        if not after:
            return None
        following = min(after, key=lambda i: i.number or 0)
        gap = self._between(track, self.hour.hour, hour_of(following.segment.wall_start_ms))
        gap += _behind(newest.segment, missing, following.segment.session)
        seams = following.discontinuity - (not joins(newest.segment, following.segment)) - newest.discontinuity
        return (following.number or 0) - 1 - gap - (newest.number or 0), seams

    def _to_last(
        self, track: Track, numbered: Sequence[IndexedSegment], missing: frozenset[Identity]
    ) -> tuple[int, int] | None:
        """Return the shift by the record's newest segment of the track, which lies in this hour or a later one."""
        told = next((i for i in self.record.last if i.segment.track == track), None)
        if told is None:
            return None
        same = next((i for i in numbered if identity(i.segment) == identity(told.segment)), None)
        if same is not None:
            return (told.number or 0) - (same.number or 0), told.discontinuity - same.discontinuity
        newest = max(numbered, key=lambda i: i.number or 0)
        behind = [hour for hour in self.record.hours if hour.hour > self.hour.hour]
        gap = sum(_count(hour, track) for hour in behind) + _behind(newest.segment, missing, told.segment.session)
        sessions = {told.segment.session, *(run.session for hour in behind for run in hour.runs or ())}
        seams = len(sessions - {newest.segment.session})
        return (told.number or 0) - gap - (newest.number or 0), told.discontinuity - seams - newest.discontinuity

    def _between(self, track: Track, first: int, last: int) -> int:
        """Count a track's segments in the unreadable hours between two: they have numbers too."""
        read = {hour_of(indexed.segment.wall_start_ms) for indexed in self.known}
        return sum(
            _count(hour, track) for hour in self.record.hours if first < hour.hour < last and hour.hour not in read
        )


def _count(hour: HourSummary, track: Track) -> int:
    if hour.runs is None:
        return hour.segments
    return sum(run.last - run.first + 1 for run in hour.runs if run.track == track)


def _behind(newest: SegmentWritten, missing: frozenset[Identity], session: str) -> int:
    """Count an hour's missing segments that come after its newest; `session` is the one that follows it."""
    return sum(
        name.sequence > newest.sequence if name.session == newest.session else name.session == session
        for name in missing
        if name.track == newest.track
    )


def _moved(indexed: IndexedSegment, numbers: int, seams: int) -> IndexedSegment:
    number = None if indexed.number is None else indexed.number + numbers
    return indexed.model_copy(update={"number": number, "discontinuity": max(indexed.discontinuity + seams, 0)})


def _newest(known: Iterable[IndexedSegment]) -> dict[Track, IndexedSegment]:
    """Return each track's segment with the highest number."""
    found: dict[Track, IndexedSegment] = {}
    for indexed in known:
        track = indexed.segment.track
        if indexed.number is not None and (track not in found or indexed.number > (found[track].number or 0)):
            found[track] = indexed
    return found


def _beside(own: Sequence[IndexedSegment], found: Sequence[IndexedSegment]) -> list[IndexedSegment]:
    """Add found segments to an hour's own, which keep their numbers: players may have seen them."""
    there = {identity(indexed.segment): indexed for indexed in own}
    taken = {(indexed.segment.track, indexed.number) for indexed in own}
    made: list[IndexedSegment] = list(own)
    for indexed in found:
        known = there.get(identity(indexed.segment))
        if known is not None and known.segment != indexed.segment:  # the whole of a segment that was salvaged short
            made[made.index(known)] = known.model_copy(update={"log": indexed.log, "segment": indexed.segment})
        elif known is None and (indexed.segment.track, indexed.number) in taken:
            made.append(indexed.model_copy(update={"number": None}))
        elif known is None:
            made.append(indexed)
    return made
