"""The splicer: pictures and sound of one file after another on the output's endless timeline (ADR 14).

Decode times are computed anew: the n-th picture decoded has the n-th presentation time, LEAD earlier. So they rise over
every join at the pace of the pictures, whatever delay each file's encoder had.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from heapq import heappop, heappush

from services.restreamer.model import How, Track, Unit, value
from services.restreamer.playout.reading.verdict import LEAD
from services.restreamer.playout.sound.queue import SoundQueue
from shared.media.transcode.streams import ROUNDING
from shared.messages.restreams import Item, PlaylistCursor

DEEPEST = 17
"""More pictures than a decoder may hold back (H.264 A.3.1, H.265 A.4.2: 16)."""


@value
class Shot:
    """A coded picture in decode order; `pts` in the part's time, `at` in the file's, both flicks."""

    pts: int
    at: int
    duration: int
    key: bool
    data: bytes
    track: Track | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """A range of a file in play, and what is reported of it. `file` counts the files played."""

    file: int
    cursor: PlaylistCursor
    how: How
    reason: str = ""
    item: Item | None = None
    video: Track | None = None
    audio: Track | None = None
    duration: int | None = None
    spec_number: int = 0
    moved: int = 0
    live: bool = False


@value
class SplicedUnit:
    """A unit, its part, and where the pictures up to it end.

    After a clean picture, `next_at` is the next one's file time, or `after` is the position after the part.
    """

    unit: Unit
    part: Part
    picture_end: int
    next_at: int | None = None
    after: PlaylistCursor | None = None

    @property
    def leads(self) -> bool:
        """Return whether what follows is known."""
        return self.next_at is not None or self.after is not None

    @property
    def cursor(self) -> PlaylistCursor | None:
        """Return the next position; within a live event, where the list goes on. Computed on demand: it is costly."""
        if self.next_at is None:
            return self.after
        return self.part.cursor if self.part.live else self.part.cursor.model_copy(update={"at": max(self.next_at, 0)})


@dataclass(frozen=True, slots=True)
class Cut:
    """Where the output was cut: its pictures' end, last decode time, sound's end, sound not yet sent.

    `part` is what played there, and `cursor` the position that would have followed; None: nothing.
    """

    picture_end: int
    last_dts: int
    sound_end: int
    kept: tuple[SplicedUnit, ...] = ()
    part: Part | None = None
    cursor: PlaylistCursor | None = None


class Splicer:
    """Takes the shots of a part in decode order and returns entries in order of decode time."""

    def __init__(self) -> None:
        self.picture_end = LEAD
        self.lane = SoundQueue(LEAD)
        self._last_dts = self._floor = self._highest = -1
        self._part: Part | None = None
        self._ready: deque[SplicedUnit] = deque()
        self._zero: int | None = None
        self._base = self._latest = LEAD
        self._last = -1  # the latest time at which a picture taken so far is shown
        self._window, self._typical = DEEPEST, LEAD
        self._waiting: deque[tuple[int, int, Shot]] = deque()  # pictures with their output time, and how long they last
        self._order: list[tuple[int, int]] = []

    @property
    def zero(self) -> int | None:
        """The part's time of its first picture; None before it."""
        return self._zero

    def out(self, at: int) -> int:
        """Convert a part's time to output time; only after its first picture."""
        return self._base + at - (self._zero or 0)

    @property
    def shown(self) -> int:
        """The earliest output time at which the pictures taken so far can end."""
        return max(self._base, self._latest)

    def begin(self, part: Part, *, reorder: int = DEEPEST, typical: int = LEAD) -> None:
        """Start a part whose pictures are `reorder` out of order at most, and usually last `typical`."""
        self._clear()
        self._part, self._window, self._typical = part, reorder, typical
        self._base = self.picture_end

    def shot(self, shot: Shot) -> None:
        """Take the next picture in decode order."""
        pts = shot.pts
        if self._zero is None:
            self._zero = pts
        out, length = self._base + self._steadied(pts, self._zero) - self._zero, self._length(shot.duration)
        self._waiting.append((out, length, shot))
        heappush(self._order, (out, shot.at))
        if out >= self._last:  # no earlier picture is shown beyond its end
            self._last, self._latest = out, out + length
        if len(self._waiting) > self._window:
            self._place(None)

    def end(self, after: PlaylistCursor | None, until: int | None = None) -> None:
        """End the part; `after` is the position that follows its last picture, which is shown up to `until`."""
        if until is not None and self._waiting:
            self._last_until(self.out(until))
        while self._waiting:
            self._place(after)
        self.picture_end = max(self.picture_end, self._latest)
        self._floor = self.picture_end - LEAD

    def take(self, *, rest: bool = False) -> list[SplicedUnit]:
        """Return the entries whose order is final; `rest`: all entries."""
        out: list[SplicedUnit] = []
        ready, lane, part = self._ready, self.lane, self._part
        while True:
            floor, sound = ready[0].unit.dts if ready else self._floor, lane.units
            if sound and part is not None and (sound[0].dts <= floor or (rest and not ready)):
                out.append(SplicedUnit(sound.popleft(), part, self.picture_end))
            elif ready and (lane.end >= floor or rest):
                out.append(ready.popleft())
            else:
                return out

    def cut(self, cut: Cut) -> None:
        """Go on from where the output was cut."""
        self._ready.clear()
        self.picture_end, self._last_dts = cut.picture_end, cut.last_dts
        self._clear()
        self._floor = cut.picture_end - LEAD
        self.lane.reset(cut.sound_end, (entry.unit for entry in cut.kept))

    def _clear(self) -> None:
        self._zero = None
        self._base = self._latest = self.picture_end
        self._waiting.clear()
        self._order.clear()
        self._highest = self._last = -1

    def _steadied(self, pts: int, zero: int) -> int:
        """Return a time on the steady rate for one that was rounded, as FLV's are to ms."""
        steady = zero + (pts - zero + self._typical // 2) // self._typical * self._typical
        return steady if abs(steady - pts) <= ROUNDING else pts

    def _length(self, told: int) -> int:
        """Return how long a picture is shown: as usual where its own duration is rounded or missing."""
        usual = self._typical
        return usual if told <= 0 or abs(told - usual) <= usual // 8 else min(told, 25 * LEAD)

    def _last_until(self, end: int) -> None:
        """Show the last picture up to `end`: one frame long, or longer where rates vary and it stays on."""
        last = max(out for out, _, _ in self._waiting)
        frame = last + self._typical
        end = end if end - frame > self._typical // 2 else frame
        for number, (out, length, shot) in enumerate(self._waiting):
            self._waiting[number] = out, end - out if out == last else min(length, end - out), shot
        self._latest = end

    def _place(self, after: PlaylistCursor | None) -> None:
        """Assign output times to the shot that has waited longest."""
        pts, length, shot = self._waiting.popleft()
        assert self._part is not None  # noqa: S101  shots come after begin
        low, order = heappop(self._order)[0], self._order
        dts = max(min(low - LEAD, pts), self._last_dts + 1)
        self._last_dts = self._floor = dts
        if pts >= self._highest:
            self._highest, self.picture_end = pts, pts + length
        clean = self._highest <= low
        next_at = order[0][1] if clean and order else None
        unit = Unit("video", dts, max(pts, dts), length, shot.key, shot.data, shot.track, clean)
        last = after if clean and next_at is None else None
        self._ready.append(SplicedUnit(unit, self._part, self.picture_end, next_at, last))
