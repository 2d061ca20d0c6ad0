"""One target with fake connections, and a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from services.restreamer.model import FLICKS, TargetSpec, Track, Unit
from services.restreamer.targets.rtmp.pack import RtmpPacker
from services.restreamer.targets.rules import TargetRules
from services.restreamer.targets.shared_muxer import SharedMuxer
from services.restreamer.targets.target import TargetConnection
from services.restreamer.targets.terms import Block, Line, Queue, TargetError, Tracks
from shared.messages.restreams import TargetStatus
from tests.support.waiting import wait_until

MS = FLICKS // 1000


AVC = Track("video", "h264", b"\x01\x42\x00\x1e\xff\xe1\x00\x02\x67\x42\x01\x00\x02\x68\xce", 320, 180)


AAC = Track("audio", "aac", b"\x11\x90", sample_rate=48000, channels=2)


RULES = TargetRules()


class SetClock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.ns = 0

    def now_ms(self) -> int:
        return self.ns // 1_000_000

    def monotonic_ns(self) -> int:
        return self.ns

    def step(self, seconds: float) -> None:
        self.ns += int(seconds * 1e9)


@dataclass
class FakeLine:
    """A connection that takes all or nothing."""

    takes: bool = True
    fault: TargetError | None = None
    unwilling: str = ""
    queue: Queue = field(default_factory=Queue)
    sent: int = 0
    closed: bool = False
    taken: list[Block] = field(default_factory=list)
    goodbyes: int = 0

    def ready(self) -> str:
        return self.unwilling

    def accept(self, tracks: Tracks) -> None:
        assert tracks.video

    def put(self, block: Block, now_ns: int) -> None:
        self.queue.put(block, now_ns)

    def flush(self, now_ns: int) -> None:
        while self.takes and self.queue.blocks:
            self.taken.append(self.queue.blocks[0][0])
            self.sent += len(self.taken[-1].data)
            self.queue.pop()

    def listen(self, now_ns: int) -> None:
        if self.fault is not None:
            raise self.fault

    def farewell(self, now_ns: int) -> None:
        self.goodbyes += 1

    def drained(self) -> bool:
        return not self.queue.blocks

    def close(self) -> None:
        self.closed = True


class Scene:
    """One target with fake calls, its lane and its clock."""

    def __init__(self, answer: Callable[[], Line], *, tries: int = 3, rules: TargetRules = RULES) -> None:
        self.clock = SetClock()
        self.lane = SharedMuxer(RtmpPacker(), Tracks(AVC, AAC))
        self.calls = 0
        self.answer = answer
        spec = TargetSpec("0123456789abcdef", "rtmp://a/b/secret", "rtmp://a/b/***", tries)
        self.target = TargetConnection(spec, self.lane, self._open, rules, self.clock)

    def _open(self) -> Line:
        self.calls += 1
        return self.answer()

    @property
    def status(self) -> TargetStatus:
        return self.target.status()

    def tick(self, seconds: float = 0) -> TargetStatus:
        """Move the clock, tick, and wait for the end of a call that this starts."""
        self.clock.step(seconds)
        before = self.calls
        self.target.tick(self.clock.ns)
        if self.calls != before or self.target._call is not None:
            call = self.target._call
            wait_until(lambda: call is None or not call.running)
            self.target.tick(self.clock.ns)
        return self.status

    def feed(self, *units: Unit) -> None:
        blocks = self.lane.feed(units)
        if blocks:
            self.target.put(blocks, self.clock.ns)


def picture(at_ms: int, *, key: bool = False, size: int = 100) -> Unit:
    return Unit("video", at_ms * MS, at_ms * MS, 40 * MS, key, bytes(size), AVC if key else None)


def refuse(*, final: bool = False) -> Callable[[], Line]:
    def fail() -> Line:
        raise TargetError("no", final=final)

    return fail
