"""The pacer: passes each unit to the outputs at its decode time (ADR 14)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from threading import Event, Lock, Thread

from services.restreamer.model import Outputs, TargetSpec
from services.restreamer.playout.reading.splice import Part, SplicedUnit
from services.restreamer.playout.sending.batch import Batch, to_ns
from services.restreamer.playout.sending.pace import PACE, SLACK_NS, Pace, in_step
from services.restreamer.playout.sending.ring import Ring
from services.restreamer.playout.terms import Ended, FileStarted, Notes, Reporter, Started
from shared.messages.restreams import TargetStatus
from shared.runtime.clock import Clock

EARLY_NS = 10_000_000
"""How early units are sent, so that one step sends all that are due soon."""
LEAST_NS = 5_000_000
"""The shortest pause between two steps."""
TICK_NS = 20_000_000
"""The pause while there is nothing to send."""
IDLE_NS = 100_000_000
LOOK_NS = 200_000_000
BEHIND_NS = 1_000_000_000
"""A delay of our own is caught up if it is no longer; after others, and delays of the reader, time goes on from now."""
MOST_BATCHES = 100
"""The most that one step sends, as the thread sends for others, too; later steps send the rest."""
CONNECT_NS = 3_000_000_000
"""How long the first unit waits for targets that are connecting."""
SETTLE_NS = 300_000_000


@dataclass(frozen=True, slots=True)
class View:
    """The pacer's state, for other threads."""

    sent: int = -1
    targets: tuple[TargetStatus, ...] = ()
    ended: bool = False


class Pacer:
    """Sends what is in the ring. `step` does all the work; `pace` calls it again and again.

    `dry` is called with the time while there is nothing to send.
    """

    def __init__(
        self,
        ring: Ring,
        outputs: Outputs,
        report: Reporter,
        clock: Clock,
        dry: Callable[[int], None] = lambda _: None,
        pace: Pace = PACE,
        notes: Notes | None = None,
    ) -> None:
        self._ring, self._outputs, self._report, self._clock, self._dry = ring, outputs, report, clock, dry
        self._pace, self._notes = pace, notes
        self._noted: SplicedUnit | None = None
        self.end_ms: int | None = None
        self.paused = False
        self._lock = Lock()
        self._targets: tuple[TargetSpec, ...] | None = None
        self._anchor_ns: int | None = None  # when decode time 0 is, or was, due
        self._called_ns = self._live_ns = self._looked_ns = self._paused_ns = -1
        self._starved = self._started = False
        self._states: tuple[TargetStatus, ...] = ()
        self._file = 0
        self._last: SplicedUnit | None = None
        self._end_ns = 0
        self._stopped = self._over = self._ended = False
        self._left = Event()
        self._left.set()

    def start(self) -> None:
        """Start sending."""
        self._left.clear()
        self._pace.call(self)

    def stop(self) -> None:
        """Ask to end soon, without a report."""
        self._stopped = True
        if not self._left.is_set():
            self._pace.call(self)

    def join(self, within: timedelta) -> bool:
        """Wait until the outputs are closed; return whether they are."""
        return self._left.wait(within.total_seconds())

    @property
    def view(self) -> View:
        """Return the current state."""
        last = self._last
        return View(-1 if last is None else last.unit.dts + last.unit.duration, self._states, self._ended)

    def set_targets(self, targets: Sequence[TargetSpec]) -> None:
        """Send to these targets from the next step on."""
        with self._lock:
            self._targets = tuple(targets)

    def run(self) -> int | None:
        """Do one step; the pace calls it."""
        if self._over:
            return None
        wake: int | None = None
        try:
            if not self._stopped:
                wake = self.step(self._clock.monotonic_ns())
        except BaseException:
            self._finish(Ended(failed=True, reason="the sender broke"))
            raise
        finally:
            if wake is None:
                self._over = True
                Thread(target=self._leave, name="restream-leave", daemon=True).start()
        return None if wake is None else max(wake - self._clock.monotonic_ns(), 0)

    def _leave(self) -> None:
        """Disconnect from the targets, which may take a second."""
        try:
            self._outputs.close()
        finally:
            self._left.set()

    def step(self, now: int) -> int | None:
        """Send what is due at `now` (monotonic, ns); return when to do the next step, None at the end."""
        if self._targets is not None:
            self._take_targets()
        head = self._ring.head()
        if head is None or self.end_ms is not None:
            end = self._ending(now)
            if end is not None:
                self._finish(end)
                return None
        if not self.paused and self._resume(now, head):
            self._send(now, head)
        elif self.paused and self._paused_ns < 0:
            self._paused_ns = now
        self._outputs.tick()
        if now - self._looked_ns >= LOOK_NS or self._looked_ns < 0:
            self._looked_ns = now
            self._see()
        return self._next(now)

    def _take_targets(self) -> None:
        with self._lock:
            targets, self._targets = self._targets, None
        if targets is not None:
            self._outputs.set_targets(targets)

    def _ending(self, now: int) -> Ended | None:
        """Return why it is over, by the wall clock or because all was sent and shown; None while it is not."""
        if self.end_ms is not None and self._clock.now_ms() >= self.end_ms:
            return Ended(reason="its end's time has come")
        over = self._ring.over
        return over if over is not None and now >= self._end_ns else None

    def _finish(self, end: Ended) -> None:
        self._see()
        self._ended = True
        self._report(end)

    def _resume(self, now: int, head: Batch | None) -> bool:
        """Set the clock's anchor where sending starts or goes on; return whether it may."""
        if self._paused_ns >= 0:
            if self._anchor_ns is not None:
                self._anchor_ns = self._in_step(self._anchor_ns + now - self._paused_ns, self._last)
            self._paused_ns = -1
        if head is None:
            self._starved = self._starved or (self._anchor_ns is not None and now >= self._end_ns)
            if self._starved or self._anchor_ns is None:
                self._dry(now)
            return False
        if self._anchor_ns is None:
            if not self._reached(now):
                return False
            self._anchor_ns = self._in_step(now - head.due_ns, head.entries[0])
        late = now - self._anchor_ns - head.due_ns
        if late > BEHIND_NS or (self._starved and late > 0):
            self._anchor_ns = self._in_step(self._anchor_ns + late, head.entries[0])
        self._starved = False
        return True

    def _in_step(self, anchor: int, head: SplicedUnit | None) -> int:
        """Return an anchor at or shortly after this one, so that pictures are sent with those of other restreams."""
        known = head if head is not None and head.unit.kind == "video" else self._last or head
        if known is None:
            return anchor
        due = anchor + to_ns(known.unit.dts)
        return anchor + in_step(due, known.unit.duration) - due

    def _reached(self, now: int) -> bool:
        """Return whether the targets are ready for the first unit, or their time to connect is over."""
        if self._called_ns < 0:
            self._called_ns = now
        states = [status.state for status in self._outputs.states()]
        if "connecting" not in states:
            return True
        if "live" in states and self._live_ns < 0:
            self._live_ns = now
        settled = self._live_ns >= 0 and now - self._live_ns >= SETTLE_NS
        return settled or now - self._called_ns >= CONNECT_NS

    def _send(self, now: int, head: Batch | None) -> None:
        """Send what is due: `head`, and what follows it."""
        assert self._anchor_ns is not None  # noqa: S101  set by _resume
        ring, until_ns = self._ring, now - self._anchor_ns + EARLY_NS + SLACK_NS
        for _ in range(MOST_BATCHES):
            if head is None or head.due_ns > until_ns:
                break
            batch = ring.due(until_ns)
            if batch is None:  # it was cut off in between
                break
            self._outputs.feed(batch.units, batch.ready)
            sent = batch.sent
            if sent.video is not None and sent.video is not self._last:
                self._last, self._end_ns = sent.video, self._anchor_ns + batch.end_ns
                if sent.video.part.file != self._file:
                    self._tell(sent.video.part)
            leads = sent.leads
            if leads is not None and leads is not self._noted and self._notes is not None and not leads.part.live:
                self._note(self._notes, leads)
            head = ring.head()

    def _note(self, notes: Notes, entry: SplicedUnit) -> None:
        """Record the next position where it is known; a live event has no position in the list."""
        self._noted, part, after = entry, entry.part, entry.after
        if entry.next_at is not None:
            cursor = part.cursor
            notes.note(part.spec_number, part.moved, (cursor.item, cursor.range, cursor.loop, max(entry.next_at, 0)))
        elif after is not None:
            notes.note(part.spec_number, part.moved, (after.item, after.range, after.loop, after.at))

    def _tell(self, part: Part) -> None:
        """Report that a file starts."""
        if part.video is None:
            return
        self._file = part.file
        self._report(
            FileStarted(part.cursor, part.item, part.how, part.reason, part.video, part.audio, part.duration, part.live)
        )

    def _see(self) -> None:
        """Read the targets' states; report when the first of them gets media."""
        self._states = self._outputs.states()
        sent = any(status.state == "live" and not status.unsent for status in self._states)
        if not self._started and self._last is not None and sent:
            self._started = True
            self._report(Started())

    def _next(self, now: int) -> int:
        """Return when to do the next step: when the next unit is due."""
        head = self._ring.head()
        if self.paused or self._anchor_ns is None or head is None:
            return now + (IDLE_NS if self.paused else TICK_NS)
        due, least, most = self._anchor_ns + head.due_ns - EARLY_NS, now + LEAST_NS, now + IDLE_NS
        return least if due < least else min(due, most)
