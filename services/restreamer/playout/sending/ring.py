"""The buffer of what was read ahead: the reader waits while it is full, the pacer never waits."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Condition, RLock

from services.restreamer.model import FLICKS, Unit
from services.restreamer.playout.reading.splice import Cut, Part, SplicedUnit
from services.restreamer.playout.reading.verdict import LEAD
from services.restreamer.playout.sending.batch import Batch, Sent, batched, to_ns
from services.restreamer.playout.terms import Ended

AMPLE_NS = 1_000_000_000
Prepare = Callable[[Sequence[Unit]], object | None]


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far to read ahead, in flicks and bytes; when full, reading goes on below three tenths: wakes are costly."""

    length: int = 10 * FLICKS
    size: int = 32 << 20


class Ring:
    """A bounded queue of batches that can be cut. `changed` guards it, and wakes the reader.

    The reader's thread also prepares each batch, in output order, once the batch is complete.
    """

    def __init__(self, bounds: Bounds | None = None, prepare: Prepare = lambda _: None) -> None:
        self._bounds = bounds or Bounds()
        self._prepare = prepare
        self._guard = RLock()  # taken a hundred times a second, and cheaper than through a Condition
        self.changed = Condition(self._guard)
        self._batches: deque[Batch] = deque()
        self._open: Batch | None = None  # the last one, which is not prepared yet
        self._size = 0
        self._copies = 1  # 2: each batch holds its prepared form, too
        self._full = False
        self._over: Ended | None = None
        self.sent = Sent()

    @property
    def playing(self) -> Part | None:
        """The part that plays: that of the last picture sent, or of the first one to come."""
        with self.changed:
            if self.sent.video is not None:
                return self.sent.video.part
            return self._batches[0].entries[0].part if self._batches else None

    @property
    def ample(self) -> bool:
        """Return, roughly, whether there is so much that the next entries can be put later."""
        batches = self._batches
        try:
            return batches[-1].due_ns - batches[0].due_ns > AMPLE_NS
        except IndexError:
            return False

    def put(self, entries: Sequence[SplicedUnit]) -> None:
        """Add entries; never waits."""
        if not entries:
            return
        with self._guard:
            made = self._add(entries)
            self._over = None
        for batch in made:
            batch.ready = self._prepare(batch.units)
            self._copies = 2 if batch.ready is not None else self._copies

    def _add(self, entries: Sequence[SplicedUnit]) -> list[Batch]:
        """Add entries, sound to the last batch where it belongs there; return the batches that are complete now."""
        batches, last = self._batches, self._open
        whole = []
        if last is not None and batches and batches[-1] is last:
            self._size -= last.size
            before = batches[-2].sent if len(batches) > 1 else self.sent
            made = list(batched([*last.entries, *entries], before))
            batches[-1] = made[0]  # the queue is never empty in between, as the pacer may look
            batches.extend(made[1:])
        else:
            whole += [last] if last is not None else []
            made = list(batched(entries, batches[-1].sent if batches else self.sent))
            batches.extend(made)
        self._size += sum([batch.size for batch in made])
        self._open = made.pop()
        return whole + made

    def wait_for_room(self, until: Callable[[], bool]) -> None:
        """Wait while there is enough and `until` returns false; it is called at every change."""
        with self._guard:
            if not self._above(1, 1):
                return
        with self.changed:
            self._full = True
            self.changed.wait_for(lambda: not self._above(3, 10) or until())
            self._full = False

    def head(self) -> Batch | None:
        """Return the next batch. For the pacer alone: the batch stays until `due` takes it or a cut removes it."""
        batches = self._batches
        return batches[0] if batches else None

    def due(self, until_ns: int) -> Batch | None:
        """Take the next batch if it is due at output time `until_ns`."""
        with self._guard:
            batches = self._batches
            if not batches or batches[0].due_ns > until_ns:
                return None
            batch = batches.popleft()
            self._size -= batch.size
            self.sent = batch.sent
            if self._full and not self._above(3, 10):
                self.changed.notify_all()
            return batch

    def finish(self, end: Ended) -> None:
        """Record that nothing follows what is queued, and why."""
        with self.changed:
            self._over = end

    def reopen(self) -> None:
        """Revoke `finish`: more is searched for."""
        with self.changed:
            self._over = None

    @property
    def over(self) -> Ended | None:
        """Return why nothing follows, once all was taken; None before."""
        over = self._over  # read first: no batch is added after it
        return None if self._batches else over

    def cut(self, margin: int) -> Cut:
        """Drop what follows the first clean picture at least `margin` ahead."""
        with self.changed:
            first = (self.sent.video.unit.dts if self.sent.video is not None else 0) + margin
            entries = self._entries()
            clean = [index for index, entry in enumerate(entries) if entry.unit.kind == "video" and entry.unit.clean]
            later = [index for index in clean if entries[index].unit.dts >= first]
            return self._cut_behind(entries, later[0] if later else clean[-1] if clean else None)

    def cut_file(self, file: int) -> Cut:
        """Drop what follows file number `file`."""
        with self.changed:
            entries = self._entries()
            own = [
                index for index, entry in enumerate(entries) if entry.unit.kind == "video" and entry.part.file == file
            ]
            return self._cut_behind(entries, own[-1] if own else None)

    def _entries(self) -> list[SplicedUnit]:
        return [entry for batch in self._batches for entry in batch.entries]

    def _cut_behind(self, entries: list[SplicedUnit], index: int | None) -> Cut:
        """Cut after entry `index`, or after what was sent."""
        count = 0 if index is None else index + 1
        lead = self.sent.video if index is None else entries[index]
        kept: list[SplicedUnit] = []
        if lead is not None:
            sounds = (entry for entry in entries[count:] if entry.unit.kind == "audio")
            kept = [entry for entry in sounds if entry.unit.pts + entry.unit.duration // 2 <= lead.picture_end]
        sounds = (entry for entry in (*entries[:count], *kept) if entry.unit.kind == "audio")
        ends = [entry.unit.pts + entry.unit.duration for entry in sounds]
        self._keep(count)
        self._over = None
        sound_end = ends[-1] if ends else self.sent.sound_end
        if lead is None:
            return Cut(LEAD, -1, sound_end)
        cursor = self.sent.cursor if index is None else lead.cursor
        return Cut(lead.picture_end, lead.unit.dts, sound_end, tuple(kept), lead.part, cursor)

    def _keep(self, count: int) -> None:
        """Keep the first `count` entries."""
        whole: deque[Batch] = deque()
        for batch in self._batches:
            if len(batch.entries) > count:
                break
            whole.append(batch)
            count -= len(batch.entries)
        if count:
            begun = self._batches[len(whole)].entries[:count]
            self._open = next(batched(begun, whole[-1].sent if whole else self.sent))
            whole.append(self._open)
        elif not whole or whole[-1] is not self._open:
            self._open = None
        self._batches = whole
        self._size = sum(batch.size for batch in whole)

    def _above(self, numerator: int, denominator: int) -> bool:
        batches = self._batches
        if not batches:
            return False
        length = batches[-1].due_ns - batches[0].due_ns
        return (
            length * denominator >= to_ns(self._bounds.length) * numerator
            or self._size * self._copies * denominator >= self._bounds.size * numerator
        )
