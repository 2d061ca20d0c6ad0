"""Numbers for segments: the position in the track's recording, in order of arrival, and discontinuities.

Numbers are a fold over SEGMENTS: every reader of the same log computes the same numbers, whenever it starts (from a
RecordingRecord) and however often it reads. EXT-X-MEDIA-SEQUENCE and EXT-X-DISCONTINUITY-SEQUENCE count them (RFC
8216, 4.3.3.2 and 4.3.3.3), so nothing may be inserted between two numbered segments.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from shared.media.timeline import Identity, identity, joins, locate
from shared.messages.media import IndexedSegment, SegmentWritten, Track
from shared.messages.recordings import HourSummary, SegmentRun
from shared.recording.log import Logged

MOST_RUNS = 64


class Numbering:
    """Numbers segments after the closed hours. `last` holds each track's newest numbered segment."""

    def __init__(self, last: Iterable[IndexedSegment] = (), hours: Iterable[HourSummary] = ()) -> None:
        self._last: dict[Track, IndexedSegment] = {indexed.segment.track: indexed for indexed in last}
        self._runs = [run for hour in hours for run in hour.runs or ()]
        self._sessions = {run.session for run in self._runs}
        self._seen: set[Identity] = set()
        self._salvaged: dict[Identity, IndexedSegment] = {}

    @property
    def last(self) -> tuple[IndexedSegment, ...]:
        """Return each track's newest numbered segment."""
        return tuple(self._last[track] for track in sorted(self._last))

    def add(self, logged: Logged) -> IndexedSegment | None:
        """Return the log's next segment with its number; None when it is already numbered.

        A segment that was salvaged short is replaced by the whole one, if its writer lived: with the same number.
        """
        segment = logged.segment
        name = identity(segment)
        if name in self._salvaged and segment.bytes > self._salvaged[name].segment.bytes:
            return self._replaced(name, logged)
        if name in self._seen or self._closed(name):
            return None
        self._seen.add(name)
        before = self._last.get(segment.track)
        if before is not None and _is_late(before.segment, segment):
            return self._noted(
                name, IndexedSegment(log=logged.log, discontinuity=before.discontinuity, segment=segment)
            )
        number = before.number + 1 if before is not None and before.number is not None else 0
        seams = before.discontinuity if before is not None else 0
        if before is not None and not joins(before.segment, segment):
            seams += 1
        indexed = IndexedSegment(log=logged.log, number=number, discontinuity=seams, segment=segment)
        self._last[segment.track] = indexed
        return self._noted(name, indexed)

    def _noted(self, name: Identity, indexed: IndexedSegment) -> IndexedSegment:
        if indexed.segment.recovered:
            self._salvaged[name] = indexed
        return indexed

    def _replaced(self, name: Identity, logged: Logged) -> IndexedSegment:
        short = self._salvaged.pop(name)
        indexed = short.model_copy(update={"log": logged.log, "segment": logged.segment})
        if self._last.get(name.track) == short:
            self._last[name.track] = indexed
        return self._noted(name, indexed)

    def forget(self, names: Iterable[Identity]) -> None:
        """Stop remembering segments that a closed hour now lists."""
        for name in names:
            self._seen.discard(name)
            self._salvaged.pop(name, None)

    def adopt(self, hours: Iterable[HourSummary]) -> None:
        """Replace the list of closed hours."""
        self._runs = [run for hour in hours for run in hour.runs or ()]
        self._sessions = {run.session for run in self._runs}

    def _closed(self, name: Identity) -> bool:
        return name.session in self._sessions and any(contains(run, name) for run in self._runs)


def _is_late(before: SegmentWritten, segment: SegmentWritten) -> bool:
    """Return whether a segment belongs before the newest, by its session's sequence or because it was salvaged."""
    if before.session == segment.session:
        return segment.sequence <= before.sequence
    return segment.recovered and locate(segment).start < locate(before).start


def contains(run: SegmentRun, name: Identity) -> bool:
    """Return whether a run contains a segment."""
    return run.session == name.session and run.track == name.track and run.first <= name.sequence <= run.last


def names_in(runs: Iterable[SegmentRun]) -> Iterator[Identity]:
    """Yield the names of the segments of runs, in their order."""
    for run in runs:
        for sequence in range(run.first, run.last + 1):
            yield Identity(run.session, run.track, sequence)


def runs_of(segments: Sequence[SegmentWritten]) -> tuple[SegmentRun, ...] | None:
    """Return segments as runs without holes; None when these are too many to list."""
    return runs_of_names(identity(segment) for segment in segments)


def runs_of_names(names: Iterable[Identity]) -> tuple[SegmentRun, ...] | None:
    """Return the names of segments, each once, as runs without holes; None when these are too many to list."""
    runs: list[SegmentRun] = []
    for name in sorted(names):
        if runs and contains(runs[-1].model_copy(update={"last": runs[-1].last + 1}), name):
            runs[-1] = runs[-1].model_copy(update={"last": name.sequence})
        else:
            runs.append(SegmentRun(session=name.session, track=name.track, first=name.sequence, last=name.sequence))
    return tuple(runs) if len(runs) <= MOST_RUNS else None
