"""What was read ahead: the reader waits when it is enough, the pacer never waits."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Condition, RLock

from services.restreamer.model import FLICKS
from services.restreamer.playout.shape import LEAD
from services.restreamer.playout.splice import Cut, Entry, Part
from services.restreamer.playout.terms import Ended
from shared.messages.restreams import Place


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far to read ahead, in flicks and bytes; when full, reading goes on below three quarters."""

    length: int = 4 * FLICKS
    size: int = 32 << 20


@dataclass(frozen=True, slots=True)
class Sent:
    """What the pacer took: the last video entry, where sound ends, and the last place known to follow."""

    video: Entry | None = None
    sound_end: int = LEAD
    place: Place | None = None


class Ring:
    """A bounded queue that can be cut. `changed` guards it, and wakes the reader."""

    def __init__(self, bounds: Bounds | None = None) -> None:
        self._bounds = bounds or Bounds()
        self._guard = RLock()  # taken a hundred times a second, which a Condition's own methods make dear
        self.changed = Condition(self._guard)
        self._entries: deque[Entry] = deque()
        self._size = 0
        self._full = False
        self._over: Ended | None = None
        self.sent = Sent()

    @property
    def playing(self) -> Part | None:
        """The part that plays: of the last picture sent, or of the first to come."""
        with self.changed:
            if self.sent.video is not None:
                return self.sent.video.part
            return self._entries[0].part if self._entries else None

    def put(self, entries: Sequence[Entry]) -> None:
        """Add entries; never waits."""
        with self.changed:
            self._entries.extend(entries)
            self._size += sum(len(entry.unit.data) for entry in entries)
            self._over = None

    def wait_for_room(self, until: Callable[[], bool]) -> None:
        """Wait while there is enough, and `until` gives false; it is asked whenever something changes."""
        with self.changed:
            if not self._above(1, 1):
                return
            self._full = True
            self.changed.wait_for(lambda: not self._above(3, 4) or until())
            self._full = False

    def head(self) -> Entry | None:
        """Give the next entry."""
        with self._guard:
            return self._entries[0] if self._entries else None

    def due(self, until: int, sound_until: int) -> list[Entry]:
        """Take the entries whose decode time is at most `until`, and sound right behind them up to `sound_until`."""
        out: list[Entry] = []
        with self._guard:
            video, sound_end, place = self.sent.video, self.sent.sound_end, self.sent.place
            while self._entries:
                unit = self._entries[0].unit
                if unit.dts > (until if unit.kind == "video" or not out else sound_until):
                    break
                entry = self._entries.popleft()
                self._size -= len(entry.unit.data)
                out.append(entry)
                if entry.unit.kind == "video":
                    video, place = entry, entry.unit.place or place
                else:
                    sound_end = entry.unit.pts + entry.unit.duration
            if out:
                self.sent = Sent(video, sound_end, place)
            if self._full and not self._above(3, 4):
                self.changed.notify_all()
        return out

    def finish(self, end: Ended) -> None:
        """Tell that nothing follows what is there, and why."""
        with self.changed:
            self._over = end

    def reopen(self) -> None:
        """Take back what `finish` told: more is looked for."""
        with self.changed:
            self._over = None

    @property
    def over(self) -> Ended | None:
        """Tell whether all was taken and nothing follows, and why."""
        with self._guard:
            return None if self._entries else self._over

    def cut(self, margin: int) -> Cut:
        """Throw away what lies behind the first clean picture at least `margin` ahead."""
        with self.changed:
            first = (self.sent.video.unit.dts if self.sent.video is not None else 0) + margin
            clean = [
                index for index, entry in enumerate(self._entries) if entry.unit.kind == "video" and entry.unit.clean
            ]
            later = [index for index in clean if self._entries[index].unit.dts >= first]
            return self._cut_behind(later[0] if later else clean[-1] if clean else None)

    def cut_file(self, file: int) -> Cut:
        """Throw away what follows file number `file`."""
        with self.changed:
            own = [
                index
                for index, entry in enumerate(self._entries)
                if entry.unit.kind == "video" and entry.part.file == file
            ]
            return self._cut_behind(own[-1] if own else None)

    def _cut_behind(self, index: int | None) -> Cut:
        """Cut behind entry `index`, or behind what was sent."""
        entries = list(self._entries)
        count = 0 if index is None else index + 1
        lead = self.sent.video if index is None else entries[index]
        kept: list[Entry] = []
        if lead is not None:
            sounds = (entry for entry in entries[count:] if entry.unit.kind == "audio")
            kept = [entry for entry in sounds if entry.unit.pts + entry.unit.duration // 2 <= lead.picture_end]
        sounds = (entry for entry in (*entries[:count], *kept) if entry.unit.kind == "audio")
        ends = [entry.unit.pts + entry.unit.duration for entry in sounds]
        self._entries = deque(entries[:count])
        self._size = sum(len(entry.unit.data) for entry in self._entries)
        self._over = None
        sound_end = ends[-1] if ends else self.sent.sound_end
        if lead is None:
            return Cut(LEAD, -1, sound_end)
        place = self.sent.place if index is None else lead.unit.place
        return Cut(lead.picture_end, lead.unit.dts, sound_end, tuple(kept), lead.part, place)

    def _above(self, numerator: int, denominator: int) -> bool:
        if not self._entries:
            return False
        length = self._entries[-1].unit.dts - self._entries[0].unit.dts
        return (
            length * denominator >= self._bounds.length * numerator
            or self._size * denominator >= self._bounds.size * numerator
        )
