"""Recovers the content of a closed hour whose index object cannot be read, from the log and the segments' files.

The record's summary of the hour names its segments (`runs`), so that missing ones are known too. The log has them as
they were announced, for 48 h; after that a segment is described by its own file (shared/media/segment_files.py).
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, NamedTuple, get_args

from pydantic import ValidationError

from shared.errors import Unavailable
from shared.media.mp4.boxes import Mp4Error
from shared.media.segment_files import SegmentFile, Tracks, digest, met, read_segment, read_tracks
from shared.media.segment_head import SegmentHead
from shared.media.timeline import Identity, identity
from shared.messages.media import IndexedSegment, SegmentWritten, Track
from shared.messages.recordings import HourSummary
from shared.messages.sessions import SessionRecord
from shared.recording.hours import HOUR_MS, hour_of
from shared.recording.log import Logged
from shared.recording.numbering import names_in
from shared.runtime.logging import get_logger
from shared.store.base import MediaStore, ObjectMissing

log = get_logger()
COPY_DIGITS: Final = 12
"""Digits in the name of a copy that was salvaged short; the whole segment, if present, is used instead (ADR 17)."""
LONGER_MS: Final = 1000
"""How much longer than the hour's longest a segment may be by its own samples, ms."""
BURST_MS: Final = 20_000
"""How long after a session's first frame the dates of segments are derived from that frame, not from arrival, ms."""


@dataclass(slots=True)
class Found:
    """An hour's segments that were found, and the names of those that were not."""

    logged: dict[Identity, Logged] = field(default_factory=dict)
    from_files: dict[Identity, SegmentWritten] = field(default_factory=dict)
    missing: frozenset[Identity] = frozenset()

    @property
    def names(self) -> frozenset[Identity]:
        """Return the names of the segments that were found."""
        return frozenset(self.logged) | frozenset(self.from_files)


class _Clock(NamedTuple):
    """A session's position in stream time, as SegmentWritten has it, and the wall clock of its first frame."""

    origin_ms: int
    zero: int
    lead: int
    first_frame_ms: int

    def date(self, head: SegmentHead) -> int:
        """Return the wall clock of a segment's start: the date in its file, corrected for a burst.

        A burst at a session's start is dated at its arrival; the frames after it show that it is older.
        """
        usual = self.first_frame_ms + (head.start - self.lead) * 1000 // head.timescale
        young = (head.start - self.lead) * 1000 < BURST_MS * head.timescale
        return usual if young and 0 <= head.wall_start_ms - usual <= BURST_MS else head.wall_start_ms


@dataclass(frozen=True, slots=True)
class Finder:
    """Looks for one hour of a recording. `known` are segments of other hours, from which sessions' clocks are read.

    `own` are segments of the hour itself that need not be looked for.
    """

    store: MediaStore
    account: str
    event: str
    hour: HourSummary
    sessions: Mapping[str, SessionRecord]
    known: Sequence[IndexedSegment]
    own: Sequence[IndexedSegment] = ()

    def find(self, logged: Iterable[Logged]) -> Found:
        """Find the hour's segments in the log, and the remaining ones in the files. Blocks."""
        wanted = frozenset(names_of(self.hour)) if self.hour.runs is not None else None
        elsewhere = frozenset(identity(indexed.segment) for indexed in self.known)
        found = Found(logged={identity(one.segment): Logged(one.log, one.segment) for one in self.own})
        for one in logged:
            name = identity(one.segment)
            if name in wanted if wanted is not None else self._is_here(one.segment.wall_start_ms, name, elsewhere):
                best = found.logged.get(name)
                if best is None or (best.segment.recovered and one.segment.bytes > best.segment.bytes):
                    found.logged[name] = one
        if wanted is None or wanted - found.names:
            self._look_at_files(found, wanted, elsewhere)
        found.missing = (wanted or frozenset()) - found.names
        return found

    def _is_here(self, wall_ms: int, name: Identity, elsewhere: frozenset[Identity]) -> bool:
        return hour_of(wall_ms) == self.hour.hour and name not in elsewhere

    def _look_at_files(self, found: Found, wanted: frozenset[Identity] | None, elsewhere: frozenset[Identity]) -> None:
        """Describe segments by their files, folder by folder."""
        for session, track, keys in self._folders(wanted):
            files: dict[int, tuple[str, SegmentFile, str]] = {}
            for sequence, key in sorted(keys.items()):
                name = Identity(session, track, sequence)
                taken = name not in found.logged and (name not in elsewhere if wanted is None else name in wanted)
                if taken and (read := self._read(key)) is not None and self._is_sound(key, sequence, read[0]):
                    files[sequence] = (key, *read)
            clock = self._clock(session, track, found, {n: file for n, (_, file, _) in files.items()})
            for sequence, (key, file, sha256) in files.items():
                name = Identity(session, track, sequence)
                if wanted is not None or self._is_here(file.head.wall_start_ms, name, elsewhere):
                    segment = self._segment(name, key, file, sha256, clock)
                    if segment is not None:
                        found.from_files[name] = segment
            self._meet(found, session, track)

    def _folders(self, wanted: frozenset[Identity] | None) -> Iterator[tuple[str, Track, dict[int, str]]]:
        """Yield the sessions' folders that may hold segments of the hour, with their segments' keys by sequence."""
        if wanted is not None:
            folders = sorted({(name.session, name.track) for name in wanted})
        else:
            parts = [info.key.split("/") for info in self.store.list(f"live/{self.event}")]
            tracks: dict[str, Track] = {track: track for track in get_args(Track)}
            folders = sorted({(part[2], tracks[part[3]]) for part in parts if len(part) == 5 and part[3] in tracks})
        for session, track in folders:
            keys: dict[int, str] = {}
            for info in self.store.list(f"live/{self.event}/{session}/{track}"):
                stem, dot, ending = info.key.rsplit("/", 1)[-1].rpartition(".")
                if not (dot and ending == "m4s" and stem.isdecimal() and info.size):
                    continue
                if len(stem) != COPY_DIGITS or int(stem) not in keys:
                    keys[int(stem)] = info.key
            yield session, track, keys

    def _read(self, key: str) -> tuple[SegmentFile, str] | None:
        """Read a segment's file; None when it is gone or damaged. Unavailable when the store fails."""

        def tracks_of(number: int) -> Tracks:
            try:
                with self.store.local(_init_key(key, number)) as init:
                    return read_tracks(init)
            except ObjectMissing:
                return ()

        try:
            with self.store.local(key) as path:
                read = read_segment(path, tracks_of)
                return None if read is None else (read, digest(path, read.size))
        except (ObjectMissing, FileNotFoundError, Mp4Error, ValueError, ArithmeticError, LookupError) as error:
            log.warning("recording.segment.unreadable", key=key, error=f"{type(error).__name__}: {error}")
        except OSError as error:
            if error.errno != errno.EIO:  # for instance too many open files: a temporary error, the file is not damaged
                raise Unavailable(f"the store failed: {error.strerror}") from error
            log.warning("recording.segment.unreadable", key=key, error=str(error))
        return None

    def _is_sound(self, key: str, sequence: int, file: SegmentFile) -> bool:
        """Return whether a file's head is plausible, given its name, its samples and what is known of the hour."""
        length_ms = file.duration * 1000 // file.head.timescale
        fits = file.duration > 1 and length_ms <= self.hour.longest_ms + LONGER_MS
        if file.head.sequence == sequence and fits:
            return True
        log.warning("recording.segment.unreadable", key=key, error="its head is damaged")
        return False

    def _date(self, head: SegmentHead, clock: _Clock) -> int | None:
        """Return the wall clock of a segment's start; None when every estimate of it lies outside the hour."""
        start, slack = self.hour.hour * HOUR_MS, BURST_MS
        usual = clock.first_frame_ms + (head.start - clock.lead) * 1000 // head.timescale
        told = (clock.date(head), usual)
        return next((ms for ms in told if start - slack <= ms < start + HOUR_MS + slack), None)

    def _clock(self, session: str, track: Track, found: Found, files: Mapping[int, SegmentFile]) -> _Clock:
        """Return a session's clock, from its record, another segment of it, or the hour's summary."""
        if (record := self.sessions.get(session)) is not None:
            return _Clock(record.origin_ms, record.zero, record.lead, record.first_frame_ms)
        others = [indexed.segment for indexed in self.known if indexed.segment.session == session]
        others += [one.segment for one in found.logged.values() if one.segment.session == session]
        told = next((s for s in others if s.track == track), next(iter(others), None))
        if told is not None:
            first_ms = told.wall_start_ms - (told.start - told.lead) * 1000 // told.timescale
            return _Clock(told.origin_ms, told.zero, told.lead, first_ms)
        head = min((file.head for file in files.values()), key=lambda head: head.start, default=None)
        if head is None:
            return _Clock(0, 0, 0, 0)
        # The hour begins with its first session; another session is later by the difference of their dates.
        single = {run.session for run in self.hour.runs or ()} == {session}
        later_ms = 0 if single else max(head.wall_start_ms - self.hour.wall_start_ms, 0)
        since_ms = head.start * 1000 // head.timescale
        zero = files[0].keyframes[0] if 0 in files and files[0].keyframes else 0
        first_ms = self.hour.wall_start_ms + later_ms - since_ms
        return _Clock(max(self.hour.stream_start_ms + later_ms - since_ms, 0), zero, 0, first_ms)

    def _segment(
        self, name: Identity, key: str, file: SegmentFile, sha256: str, clock: _Clock
    ) -> SegmentWritten | None:
        """Return a segment as it was announced, as far as its file and session show; None when that is implausible."""
        head, wall_ms = file.head, self._date(file.head, clock)
        if wall_ms is None:
            log.warning("recording.segment.unreadable", key=key, error="its date is of another hour")
            return None
        try:
            return SegmentWritten(
                account=self.account, event=self.event, session=name.session, track=name.track, sequence=name.sequence,
                key=key, init_key=_init_key(key, head.init_number), start=head.start, duration=file.duration,
                timescale=head.timescale, origin_ms=clock.origin_ms, zero=clock.zero, lead=clock.lead,
                wall_start_ms=wall_ms, bytes=file.size, sha256=sha256, keyframes=file.keyframes,
                discontinuity=head.discontinuity, independent=head.independent,
                recovered=len(key.rsplit("/", 1)[-1]) == COPY_DIGITS + 4,
            )  # fmt: skip
        except ValidationError as error:
            log.warning("recording.segment.unreadable", key=key, error=str(error))
            return None

    def _meet(self, found: Found, session: str, track: Track) -> None:
        """Make segments end where the next ones of their session begin."""
        every = [indexed.segment for indexed in self.known]
        every += [one.segment for one in found.logged.values()]
        every += found.from_files.values()
        mine = sorted((s for s in every if s.session == session and s.track == track), key=lambda s: s.sequence)
        for before, after in pairwise(mine):
            name = identity(before)
            if name in found.from_files and after.sequence == before.sequence + 1:
                duration = met(before.start, before.duration, before.timescale, after.start, after.timescale)
                found.from_files[name] = before.model_copy(update={"duration": duration})


def names_of(hour: HourSummary) -> list[Identity]:
    """Return the names of an hour's segments by its summary, in the order of its runs."""
    return list(names_in(hour.runs or ()))


def _init_key(key: str, number: int) -> str:
    return f"{key.rsplit('/', 1)[0]}/init-{number}.mp4"


def files_of(store: MediaStore, event: str, hour: HourSummary) -> list[str]:
    """Return the keys of an hour's segments by its summary, for an hour whose object cannot be read. Blocks."""
    wanted = set(names_of(hour))
    found: list[str] = []
    for session, track in sorted({(name.session, name.track) for name in wanted}):
        for info in store.list(f"live/{event}/{session}/{track}"):
            stem, _, ending = info.key.rsplit("/", 1)[-1].rpartition(".")
            if ending == "m4s" and stem.isdecimal() and Identity(session, track, int(stem)) in wanted:
                found.append(info.key)
    return found
