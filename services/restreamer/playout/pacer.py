"""The pacer's thread: gives each unit to the outputs when its decode time has come (ADR 14)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event, Lock, Thread

from services.restreamer.model import FLICKS, Outputs, TargetSpec
from services.restreamer.playout.ring import Ring
from services.restreamer.playout.splice import Entry, Part
from services.restreamer.playout.terms import Ended, FileStarted, Reporter, Started
from shared.clock import Clock
from shared.messages.restreams import TargetStatus

TICK_NS = 20_000_000
"""Units are sent in batches, half a tick early at most."""
SOUND_NS = 40_000_000
"""Sound leaves with the picture before it, so much early at most: one sending a picture, not one a unit."""
IDLE_NS = 100_000_000
LOOK_NS = 200_000_000
BEHIND_NS = 1_000_000_000
"""A delay of our own is caught up with up to this; beyond it, and after the reader's delays, time goes on from now."""
CONNECT_NS = 3_000_000_000
"""How long the first unit waits for targets that are being called."""
SETTLE_NS = 300_000_000
_NS = 1_000_000_000


def to_ns(flicks: int) -> int:
    """Turn flicks into nanoseconds."""
    return flicks * _NS // FLICKS


def to_flicks(ns: int) -> int:
    """Turn nanoseconds into flicks."""
    return ns * FLICKS // _NS


@dataclass(frozen=True, slots=True)
class View:
    """What the pacer knows, for other threads."""

    sent: int = -1
    targets: tuple[TargetStatus, ...] = ()
    ended: bool = False


class Pacer:
    """Sends what is in the ring. `step` is the whole of it; the thread only waits between steps.

    `dry` is called, with the time, while there is nothing to send.
    """

    def __init__(
        self, ring: Ring, outputs: Outputs, report: Reporter, clock: Clock, dry: Callable[[int], None] = lambda _: None
    ) -> None:
        self._ring, self._outputs, self._report, self._clock, self._dry = ring, outputs, report, clock, dry
        self.view = View()
        self.end_ms: int | None = None
        self.paused = False
        self._lock = Lock()
        self._targets: tuple[TargetSpec, ...] | None = None
        self._anchor_ns: int | None = None  # when decode time 0 is, or was, due
        self._called_ns = self._live_ns = self._looked_ns = self._paused_ns = -1
        self._starved = self._started = False
        self._states: tuple[TargetStatus, ...] = ()
        self._file = 0
        self._last: Entry | None = None
        self._end_ns = 0
        self._stop = Event()
        self._thread = Thread(target=self._work, name="restream-send", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self) -> None:
        """End soon, without a report."""
        self._stop.set()

    def join(self, seconds: float) -> bool:
        """Wait for the thread's end; tell whether it came."""
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def set_targets(self, targets: Sequence[TargetSpec]) -> None:
        """Send to these from the next step on."""
        with self._lock:
            self._targets = tuple(targets)

    def _work(self) -> None:
        try:
            while not self._stop.is_set():
                now = self._clock.monotonic_ns()
                wake = self.step(now)
                if wake is None:
                    break
                self._stop.wait(max(wake - self._clock.monotonic_ns(), 0) / _NS)
        except BaseException:
            self._finish(Ended(failed=True, reason="the sender broke"))
            raise
        finally:
            self._outputs.close()

    def step(self, now: int) -> int | None:
        """Send what is due at `now` (monotonic, ns); gives when to come again, None when all is over."""
        self._take_targets()
        end = self._ending(now)
        if end is not None:
            self._finish(end)
            return None
        if not self.paused and self._resume(now):
            self._send(now)
        elif self.paused and self._paused_ns < 0:
            self._paused_ns = now
        self._outputs.tick()
        self._look(now)
        return self._next(now)

    def _take_targets(self) -> None:
        with self._lock:
            targets, self._targets = self._targets, None
        if targets is not None:
            self._outputs.set_targets(targets)

    def _ending(self, now: int) -> Ended | None:
        """Tell whether and why it is over: by the wall clock, or because all was sent and shown."""
        if self.end_ms is not None and self._clock.now_ms() >= self.end_ms:
            return Ended(reason="its end's time has come")
        over = self._ring.over
        return over if over is not None and now >= self._end_ns else None

    def _finish(self, end: Ended) -> None:
        self._see()
        self._publish(ended=True)
        self._report(end)

    def _resume(self, now: int) -> bool:
        """Set the clock's anchor where sending begins or goes on; tell whether it may."""
        if self._paused_ns >= 0:
            if self._anchor_ns is not None:
                self._anchor_ns += now - self._paused_ns
            self._paused_ns = -1
        head = self._ring.head()
        if head is None:
            self._starved = self._starved or (self._anchor_ns is not None and now >= self._end_ns)
            if self._starved or self._anchor_ns is None:
                self._dry(now)
            return False
        if self._anchor_ns is None:
            if not self._reached(now):
                return False
            self._anchor_ns = now - to_ns(head.unit.dts)
        late = now - self._anchor_ns - to_ns(head.unit.dts)
        if late > BEHIND_NS or (self._starved and late > 0):
            self._anchor_ns += late
        self._starved = False
        return True

    def _reached(self, now: int) -> bool:
        """Tell whether the targets are ready for the first unit, or have had their time."""
        if self._called_ns < 0:
            self._called_ns = now
        states = [status.state for status in self._outputs.states()]
        if "connecting" not in states:
            return True
        if "live" in states and self._live_ns < 0:
            self._live_ns = now
        settled = self._live_ns >= 0 and now - self._live_ns >= SETTLE_NS
        return settled or now - self._called_ns >= CONNECT_NS

    def _send(self, now: int) -> None:
        assert self._anchor_ns is not None  # noqa: S101  set by _resume
        until = now - self._anchor_ns + TICK_NS // 2
        entries = self._ring.due(to_flicks(until), to_flicks(until + SOUND_NS))
        if not entries:
            return
        self._outputs.feed([entry.unit for entry in entries])
        for entry in entries:
            if entry.unit.kind == "video":
                self._last = entry
                self._end_ns = self._anchor_ns + to_ns(entry.unit.dts + entry.unit.duration)
                self._tell(entry.part)
        self._publish()

    def _tell(self, part: Part) -> None:
        """Tell that a file begins."""
        if part.file == self._file or part.video is None:
            return
        self._file = part.file
        self._report(
            FileStarted(part.place, part.item, part.how, part.reason, part.video, part.audio, part.duration, part.live)
        )

    def _look(self, now: int) -> None:
        """See how the targets are, now and then."""
        if self._looked_ns >= 0 and now - self._looked_ns < LOOK_NS:
            return
        self._looked_ns = now
        self._see()

    def _see(self) -> None:
        """Ask how the targets are; tell when the first of them is sent to."""
        self._states = self._outputs.states()
        self._publish()
        sent = any(status.state == "live" and not status.unsent for status in self._states)
        if not self._started and self._last is not None and sent:
            self._started = True
            self._report(Started())

    def _publish(self, *, ended: bool = False) -> None:
        sent = -1 if self._last is None else self._last.unit.dts + self._last.unit.duration
        self.view = View(sent, self._states, ended)

    def _next(self, now: int) -> int:
        """Choose when to look again: with the next unit, but not before a tick has passed."""
        head = self._ring.head()
        if self.paused or self._anchor_ns is None or head is None:
            return now + (IDLE_NS if self.paused else TICK_NS)
        due = self._anchor_ns + to_ns(head.unit.dts) - TICK_NS // 2
        return min(max(due, now + TICK_NS), now + IDLE_NS)
