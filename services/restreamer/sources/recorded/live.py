"""A running live event as a Media: from a keyframe of the last seconds on, part by part as they are written."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator
from threading import Event
from typing import Final

from services.restreamer.model import FLICKS, Packet, SourceError, Track
from services.restreamer.sources.access import LOOK, Access, Gone, Stopped
from services.restreamer.sources.recorded.recordings import TRACK, Opened, SegmentReader
from services.restreamer.sources.recorded.segments import Row
from shared.broker import buckets
from shared.broker.kv import Bucket
from shared.media.timeline import TOLERANCE, joins, locate
from shared.messages.media import SegmentWritten
from shared.messages.sessions import SessionRecord
from shared.recording.log import Logged, newest, read_log
from shared.runtime.clock import to_ns
from shared.store.local import LocalStore

ASK_EVERY: Final = 3  # looks at the growing file per look at the broker
LEAD: Final = FLICKS  # start in the growing segment when it is this long


class LiveMedia:
    """An event while it is live. It ends some seconds after its session ends, unless another session starts.

    If the store is a folder, parts are read as they are written; otherwise whole segments.
    """

    def __init__(self, event: str, access: Access, stop: Event) -> None:
        self.resumes: int | None = None
        self.duration: int | None = None
        self._event = event
        self._access = access
        self._stop = stop
        self._reader = SegmentReader(access, stop)
        self._coming: deque[SegmentWritten] = deque()
        self.video: Track | None = None
        self.audio: Track | None = None
        self.wall_start_ms: int | None = None
        self._begin()

    def _begin(self) -> None:
        """Open what is newest; SourceError."""
        access = self._access
        last = access.ask(lambda js: newest(js, access.account, self._event), self._stop)
        if last is None:
            raise SourceError("nothing is recorded of the live event yet", lasting=False)
        self._coming.clear()
        self._log = last.log
        self._opened = self._reader.open(last.segment)
        self._given = [0, 0]
        self._seen = ("", 0)
        growing = self._growing()
        if growing is not None and growing.rows[-1].dts - growing.rows[0].dts >= LEAD:
            self._opened = growing
        self.video, self.audio = self._opened.video, self._opened.audio
        placed = locate(last.segment)
        self.wall_start_ms = round((placed.wall - placed.start) * 1000)

    def packets(self, start: int) -> Iterator[Packet]:  # noqa: ARG002  there is only one position to start
        """Yield packets from the newest keyframe or from the seam, as they come, until the event ends."""
        self.resumes = None
        self.video, self.audio = self._opened.video, self._opened.audio
        while True:
            yield from self._new(self._opened)
            following = self._wait()
            if following is None:
                return
            if not self._goes_on(following):
                self._opened, self._given, self.resumes = following, [0, 0], following.first
                self.video, self.audio = following.video, following.audio
                return
            if following.segment.sequence != self._opened.segment.sequence:
                self._given = [0, 0]
            self._opened = following

    def close(self) -> None:
        """Close nothing: this source holds no resource."""

    def _goes_on(self, following: Opened) -> bool:
        before, after = self._opened, following
        same = (before.video, before.audio) == (after.video, after.audio)
        again = before.segment.key == after.segment.key
        return same and (again or joins(before.segment, after.segment))

    def _new(self, opened: Opened) -> Iterator[Packet]:
        """Yield the packets of a segment that were not returned yet."""
        fresh: list[Row] = []
        for kind in (0, 1):
            rows = [row for row in opened.rows if row.kind == kind]
            fresh += rows[self._given[kind] :]
            self._given[kind] = max(len(rows), self._given[kind])
        fresh.sort(key=lambda row: (row.dts, row.kind))
        yield from self._reader.packets(opened, fresh)

    def _wait(self) -> Opened | None:
        """Return this segment with more samples, or the next one; None when the event is over."""
        clock, limits = self._access.clock, self._access.limits
        began = clock.monotonic_ns()
        ended: int | None = None
        looks = 0
        while True:
            if (found := self._look(ask=looks % ASK_EVERY == 0)) is not None:
                return found
            if looks % (ASK_EVERY * 4) == ASK_EVERY * 4 - 1 and ended is None and self._is_over():
                ended = clock.monotonic_ns()
            now = clock.monotonic_ns()
            if self._patient(now - began) and (ended is None or now - ended <= to_ns(limits.live_return)):
                looks += 1
            else:
                return None
            if self._stop.wait(LOOK.total_seconds()):
                raise Stopped

    def _patient(self, silent_ns: int) -> bool:
        """Return whether to wait on after a silence."""
        return silent_ns <= to_ns(self._access.limits.live_silence)

    def _look(self, *, ask: bool) -> Opened | None:
        if ask and not self._coming:
            self._read_log()
        while self._coming:
            segment = self._coming.popleft()
            if _is_old(self._opened.segment, segment):
                continue
            with contextlib.suppress(Gone):
                return self._reader.open(segment)
        grown = self._growing()
        if grown is None:
            return None
        known = self._given if grown.segment.key == self._opened.segment.key else [0, 0]
        return grown if len(grown.rows) > sum(known) else None

    def _read_log(self) -> None:
        access = self._access
        gained: list[Logged] = []
        with self._broker_away():
            gained = access.ask(lambda js: read_log(js, access.account, self._event, after=self._log), self._stop)
        for logged in gained:
            self._log = max(self._log, logged.log)
            if logged.segment.track == TRACK and not logged.segment.recovered:
                self._coming.append(logged.segment)

    def _growing(self) -> Opened | None:
        """Return the segment that is being written; None when it is not visible, or its init segment may be another."""
        store, now = self._access.store, self._opened.segment
        if not isinstance(store, LocalStore):
            return None
        after = now if now.sha256 == UNFINISHED else _next(now)
        init = now.init_key.rsplit("-", 1)
        changed = f"{init[0]}-{int(init[1].removesuffix('.mp4')) + 1}.mp4" if init[1][:-4].isdecimal() else now.init_key
        try:
            seen = after.key, store.path(after.key).stat().st_size
            if seen == self._seen or store.path(changed).exists():
                return None
            opened = self._reader.open(after)
        except (Gone, OSError):
            return None
        self._seen = seen
        if after is now:
            return opened
        late = abs(opened.rows[0].dts - max(row.dts + row.duration for row in self._opened.rows))
        return opened if late <= TOLERANCE * FLICKS else None

    def _is_over(self) -> bool:
        """Return whether the session has ended; another may follow."""
        session = self._opened.segment.session
        bucket = Bucket(self._access.js, buckets.SESSIONS, SessionRecord)
        key = f"{self._access.account}.{self._event}.{session}"
        with self._broker_away():
            stored = self._access.ask(lambda _: bucket.get(key), self._stop)
            return stored is None or stored.value.ended_ms is not None
        return False

    @contextlib.contextmanager
    def _broker_away(self) -> Iterator[None]:
        """Ignore that the broker does not answer: the question is asked again."""
        try:
            yield
        except Stopped:
            raise
        except SourceError as error:
            if error.lasting:
                raise


UNFINISHED: Final = "0" * 64  # in place of the hash while a segment is being written


def _next(segment: SegmentWritten) -> SegmentWritten:
    """Return the segment after this one, as far as it is known before it is complete."""
    folder, name = segment.key.rsplit("/", 1)
    number = segment.sequence + 1
    return segment.model_copy(
        update={
            "sequence": number,
            "key": f"{folder}/{number:0{len(name.split('.')[0])}}.{name.split('.', 1)[1]}",
            "start": segment.start + segment.duration,
            "sha256": UNFINISHED,
            "discontinuity": False,
            "keyframes": (),
        }
    )


def _is_old(now: SegmentWritten, segment: SegmentWritten) -> bool:
    """Return whether a logged segment was already read; the present one counts as new when it has become complete."""
    if segment.session != now.session:
        return False
    return segment.sequence < now.sequence or (segment.sequence == now.sequence and now.sha256 != UNFINISHED)
