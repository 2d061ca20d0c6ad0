"""What was read ahead: the reader waits when it is enough, the pacer never waits."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Condition, RLock

from services.restreamer.model import FLICKS, value
from services.restreamer.playout.shape import LEAD
from services.restreamer.playout.splice import Cut, Entry, Part
from services.restreamer.playout.terms import Ended
from shared.messages.restreams import Place

AMPLE = FLICKS


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far to read ahead, in flicks and bytes; when full, reading goes on below three tenths: a wake is dear."""

    length: int = 10 * FLICKS
    size: int = 32 << 20


@value
class Sent:
    """What the pacer took: the last video entry, where sound ends, and the last entry that leads on."""

    video: Entry | None = None
    sound_end: int = LEAD
    leads: Entry | None = None

    @property
    def place(self) -> Place | None:
        """Give the last place known to follow."""
        return self.leads.place if self.leads is not None else None


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

    @property
    def ample(self) -> bool:
        """Tell, roughly, whether there is so much that what comes next need not be put at once."""
        entries = self._entries
        try:
            return entries[-1].unit.dts - entries[0].unit.dts > AMPLE
        except IndexError:
            return False

    def put(self, entries: Sequence[Entry]) -> None:
        """Add entries; never waits."""
        size = 0
        for entry in entries:
            size += len(entry.unit.data)
        with self._guard:
            self._entries.extend(entries)
            self._size += size
            self._over = None

    def wait_for_room(self, until: Callable[[], bool]) -> None:
        """Wait while there is enough, and `until` gives false; it is asked whenever something changes."""
        with self._guard:
            if not self._above(1, 1):
                return
        with self.changed:
            self._full = True
            self.changed.wait_for(lambda: not self._above(3, 10) or until())
            self._full = False

    def head(self) -> Entry | None:
        """Give the next entry. For the pacer alone: what it does not take stays, or is gone with the whole queue."""
        entries = self._entries
        return entries[0] if entries else None

    def due(self, until: int, sound_until: int) -> list[Entry]:
        """Take the entries whose decode time is at most `until`, and sound right behind them up to `sound_until`."""
        out: list[Entry] = []
        with self._guard:
            video, sound_end, leads = self.sent.video, self.sent.sound_end, self.sent.leads
            entries = self._entries
            size = 0
            while entries:
                entry = entries[0]
                unit = entry.unit
                is_video = unit.kind == "video"
                if unit.dts > (until if is_video or not out else sound_until):
                    break
                out.append(entries.popleft())
                size += len(unit.data)
                if is_video:
                    video = entry
                    if entry.next_at is not None or entry.after is not None:  # it leads
                        leads = entry
                else:
                    sound_end = unit.pts + unit.duration
            self._size -= size
            if out:
                self.sent = Sent(video, sound_end, leads)
            if self._full and not self._above(3, 10):
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
        over = self._over  # looked at first: nothing follows it
        return None if self._entries else over

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
        place = self.sent.place if index is None else lead.place
        return Cut(lead.picture_end, lead.unit.dts, sound_end, tuple(kept), lead.part, place)

    def _above(self, numerator: int, denominator: int) -> bool:
        if not self._entries:
            return False
        length = self._entries[-1].unit.dts - self._entries[0].unit.dts
        return (
            length * denominator >= self._bounds.length * numerator
            or self._size * denominator >= self._bounds.size * numerator
        )
