"""One target: when it is connected and disconnected, and its state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.restreamer.model import TargetSpec
from services.restreamer.targets.backlog import OWN_BYTES
from services.restreamer.targets.call import Call, Opener
from services.restreamer.targets.rules import TargetRules, ns
from services.restreamer.targets.shared_muxer import SharedMuxer
from services.restreamer.targets.terms import Block, Line, Queue, TargetError
from shared.messages.restreams import TargetState, TargetStatus
from shared.runtime.clock import Clock
from shared.runtime.logging import get_logger

log = get_logger()

_LONGEST_ERROR = 512
_BUFFERED = 32 << 20
"""More than both ends of a connection buffer: a peer that took more has read some of it."""


@dataclass(slots=True)
class Start:
    """The GOP that a target starts with, queued at once: a long one takes time to send, but must make progress."""

    bytes: int
    blocks: int
    popped: int
    moved_ns: int

    def over(self, queue: Queue, now_ns: int, soon_ns: int) -> bool:
        """Return whether all of it was sent, and nothing after it waits longer than `soon_ns`."""
        moved = queue.popped - self.popped
        if moved:
            self.popped, self.blocks, self.moved_ns = queue.popped, self.blocks - moved, now_ns
        return self.blocks <= 0 and queue.waits_ns(now_ns) <= soon_ns


class TargetConnection:
    """A target's life, in the pacer's thread.

    connecting (for the first time, or again) -> live -> waiting (lost; reconnected soon) -> failed (refused, or failed
    too often). A failed target is reconnected after growing pauses, and stays failed until it is live. `refusal` is
    why it can never be connected.
    """

    def __init__(
        self,
        spec: TargetSpec,
        lane: SharedMuxer,
        opener: Opener | None,
        rules: TargetRules,
        clock: Clock,
        refusal: str = "",
        about: Mapping[str, object] | None = None,
    ) -> None:
        self._about = about or {}
        self.spec = spec
        self.lane = lane
        self._opener = opener
        self._rules = rules
        self._clock = clock
        self._state: TargetState = "connecting"
        self._error = ""
        self._since_ms = clock.now_ms()
        self._connects = self._sent = self._dropped = 0
        self._call: Call | None = None
        self._until_ns = 0  # the deadline of the call; 0: it was given up
        self._line: Line | None = None
        self._begun = False
        self._start: Start | None = None
        self._before = 0  # bytes that the line had sent when media began
        self._configured = 0
        self._failures = self._pauses = 0
        self._due_ns = clock.monotonic_ns()
        self._live_ns = 0
        if refusal:
            self._become("failed", refusal)

    def status(self) -> TargetStatus:
        """Return the target's status."""
        return TargetStatus(
            target=self.spec.target,
            shown=self.spec.shown,
            state=self._state,
            since_ms=self._since_ms,
            error=self._error[:_LONGEST_ERROR],
            connects=self._connects,
            sent_bytes=self._sent + (self._line.sent if self._line is not None else 0),
            dropped=self._dropped,
            unsent=self._state == "live" and not self._sends(),
        )

    @property
    def content(self) -> bool:
        """Return whether it takes media and nothing waits, so that it need not be checked in each tick."""
        return self._begun and self._line is not None and not self._line.queue.blocks

    def _sends(self) -> bool:
        """Return whether media was sent over this connection."""
        return self._begun and self._line is not None and self._line.sent > self._before

    def tick(self, now_ns: int) -> None:
        """Connect, read answers, send what waits, or give up."""
        if self._call is not None:
            self._await(self._call, now_ns)
        if self.lane.unfit:
            self._leave_line()
            if self._state != "failed" or self._error != self.lane.unfit:
                self._become("failed", self.lane.unfit)
            self._due_ns = now_ns
        elif self._line is not None:
            self._guard(self._line, now_ns, ())
        elif self._call is None and self._opener is not None and now_ns >= self._due_ns:
            self._dial(self._opener, now_ns)

    def put(self, blocks: Sequence[Block], now_ns: int) -> None:
        """Send blocks that were just packed."""
        if self._line is not None and not self.lane.unfit:
            self._guard(self._line, now_ns, blocks)

    def _dial(self, opener: Opener, now_ns: int) -> None:
        self._until_ns = now_ns + ns(self._rules.call_within)
        if self._state != "failed":
            self._become("connecting", self._error)
        self._call = Call(opener)

    def _await(self, call: Call, now_ns: int) -> None:
        if call.running:
            if self._until_ns and now_ns > self._until_ns:
                # Its thread may hang in a name look-up: no new call starts before it has ended.
                self._until_ns = 0
                call.give_up()
                self._fail(TargetError("did not answer in time"), now_ns)
            return
        self._call = None
        if not self._until_ns:
            return
        try:
            self._line = call.result()
        except TargetError as error:
            self._fail(error, now_ns)
            return
        self._connects += 1
        self._begun, self._start, self._live_ns = False, None, now_ns

    def _guard(self, line: Line, now_ns: int, blocks: Sequence[Block]) -> None:
        """Work on the line; close it on an error."""
        try:
            if self._begun and blocks and self._configured == self.lane.number:  # as nearly always
                for block in blocks:
                    line.put(block, now_ns)
            elif blocks:
                self._send(line, blocks, now_ns)
            else:
                line.listen(now_ns)
                self._look(line, now_ns)
            if line.queue.blocks:
                line.flush(now_ns)
                if line.queue.blocks:
                    self._check(line, now_ns)
        except TargetError as error:
            steady = now_ns - self._live_ns >= ns(self._rules.steady)
            if steady and (not error.stuck or line.sent > _BUFFERED):
                self._failures = self._pauses = 0
            self._leave_line()
            self._fail(error, now_ns)

    def _look(self, line: Line, now_ns: int) -> None:
        """Start sending once the line takes media."""
        why = line.ready()
        if why:
            self._begun = False
            if (self._state, self._error) != ("waiting", why):
                self._become("waiting", why)
            return
        if self._state != "live":
            self._become("live", "")
        if not self._begun and (blocks := self.lane.start()):
            line.accept(self.lane.tracks)
            self._begun, self._before, self._configured = True, line.sent, self.lane.number
            self._start = Start(sum(len(block.data) for block in blocks), len(blocks), line.queue.popped, now_ns)
            for block in blocks:
                line.put(block, now_ns)

    def _send(self, line: Line, blocks: Sequence[Block], now_ns: int) -> None:
        if not self._begun:
            self._look(line, now_ns)  # what it starts with includes these blocks
            return
        if self._configured != self.lane.number:
            line.accept(self.lane.tracks)
            self._configured = self.lane.number
        for block in blocks:
            line.put(block, now_ns)

    def _check(self, line: Line, now_ns: int) -> None:
        queue, most, waits_ns = line.queue, self._rules.queue_bytes, line.queue.waits_ns(now_ns)
        if self._start is not None and self._start.over(queue, now_ns, ns(self._rules.stuck_after) // 2):
            self._start = None
        if self._start is not None:
            most = most + self._start.bytes if self._start.bytes > OWN_BYTES else most
            waits_ns = now_ns - self._start.moved_ns
        if waits_ns > ns(self._rules.stuck_after):
            raise TargetError(f"took too little for {self._rules.stuck_after.total_seconds():g} s", stuck=True)
        if queue.bytes > most:
            raise TargetError(f"took too little: more than {most >> 20} MiB wait", stuck=True)

    def _fail(self, error: TargetError, now_ns: int) -> None:
        rules = self._rules
        self._failures += 1
        if error.final or self._failures >= max(self.spec.tries, 1):
            pause = min(ns(rules.shortest) << min(self._pauses, 16), ns(rules.longest))
            self._pauses += 1
            self._become("failed", str(error))
        else:
            pause = ns(rules.quick)
            self._become("waiting", str(error))
        self._due_ns = now_ns + pause

    def _leave_line(self) -> None:
        if self._line is not None:
            self._sent += self._line.sent
            self._dropped += self._line.queue.units
            self._line.close()
            self._line = None

    def _become(self, state: TargetState, error: str) -> None:
        if state != self._state:
            self._since_ms = self._clock.now_ms()
            tell = log.warning if state == "failed" else log.info
            which = {"target": self.spec.target, "shown": self.spec.shown, **self._about}
            tell("restream.target.changed", state=state, reason=error, **which)
        self._state, self._error = state, error

    def leave(self, now_ns: int) -> None:
        """Start the goodbye; `left` completes it."""
        self._become("removed", "")
        if self._call is not None:
            self._call.give_up()
            self._call = None
        if self._line is not None:
            try:
                self._line.farewell(now_ns)
            except TargetError:
                self._leave_line()
        self._due_ns = now_ns + ns(self._rules.farewell)

    def left(self, now_ns: int) -> bool:
        """Send the rest of the goodbye; return whether it is over."""
        line = self._line
        if line is None:
            return True
        try:
            line.flush(now_ns)
            line.listen(now_ns)
            over = line.drained()
        except TargetError:
            over = True
        if over or now_ns >= self._due_ns:
            self._leave_line()
            return True
        return False
