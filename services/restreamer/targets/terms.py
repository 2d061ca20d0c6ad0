"""The types that formats, connections and targets share."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from services.restreamer.model import Track, Unit, value
from shared.errors import DestinationFailed

SHORTEST_SECRET = 3


@value
class Block:
    """Packed units, made once and sent to all targets of a format; `at` is the first one's decode time in flicks.

    `pieces` is `data` cut into datagrams (SRT); `heads` are the stream ids' offsets in message headers (RTMP).
    """

    data: bytes
    units: int
    at: int
    pieces: tuple[bytes, ...] = ()
    heads: tuple[int, ...] = ()


class TargetError(DestinationFailed):
    """A target cannot be connected, or was lost; the text is for people and contains no secret.

    `final`: the other side refused, or the request is wrong; a quick retry is useless. `stuck`: it takes too little.
    """

    def __init__(self, text: str, *, final: bool = False, stuck: bool = False) -> None:
        super().__init__(text, final=final)
        self.stuck = stuck


@dataclass(slots=True)
class Tracks:
    """The programme's tracks at a moment."""

    video: Track | None = None
    audio: Track | None = None

    def learn(self, track: Track) -> None:
        """Store a track's new configuration."""
        if track.kind == "video":
            self.video = track
        else:
            self.audio = track

    def copy(self) -> Tracks:
        """Return a copy that later changes do not affect."""
        return Tracks(self.video, self.audio)


class Packer(Protocol):
    """Writes units in a target's format. One packer serves all targets of the format."""

    def unfit(self, track: Track) -> str:
        """Return why the format cannot carry a track; empty: it can."""
        ...

    def head(self, tracks: Tracks, at: int) -> Block:
        """Write what a target needs before its first unit, whose decode time is `at`."""
        ...

    def configure(self, tracks: Tracks, fresh: Collection[str], at: int) -> Block:
        """Write what targets need when the programme changes to `tracks`; `fresh` are the kinds that changed."""
        ...

    def pack(self, units: Sequence[Unit]) -> Block:
        """Write units; their configuration was written before."""
        ...


@dataclass(slots=True)
class Queue:
    """What a connection has not taken yet, with the monotonic times at which it was queued."""

    blocks: deque[tuple[Block, int]] = field(default_factory=deque)
    bytes: int = 0
    units: int = 0
    popped: int = 0
    """Counts the blocks that were sent."""

    def put(self, block: Block, now_ns: int) -> None:
        """Append a block."""
        self.blocks.append((block, now_ns))
        self.bytes += len(block.data)
        self.units += block.units

    def pop(self) -> None:
        """Remove the first block: all of it was sent."""
        block, _ = self.blocks.popleft()
        self.popped += 1
        self.bytes -= len(block.data)
        self.units -= block.units

    def waits_ns(self, now_ns: int) -> int:
        """Return how long the first block has waited."""
        return now_ns - self.blocks[0][1] if self.blocks else 0


class Line(Protocol):
    """An open connection, used by the pacer alone: no call waits. Any call may raise TargetError, which ends it."""

    @property
    def queue(self) -> Queue:
        """The blocks that wait."""
        ...

    @property
    def sent(self) -> int:
        """The bytes sent since it was opened."""
        ...

    def ready(self) -> str:
        """Return why nothing can be sent yet; empty: it can."""
        ...

    def accept(self, tracks: Tracks) -> None:
        """Raise TargetError when the other side has said that it does not take these tracks."""
        ...

    def put(self, block: Block, now_ns: int) -> None:
        """Queue a block."""
        ...

    def flush(self, now_ns: int) -> None:
        """Send what the peer takes without waiting."""
        ...

    def listen(self, now_ns: int) -> None:
        """Read answers; detect the end of the connection."""
        ...

    def farewell(self, now_ns: int) -> None:
        """Queue a goodbye after what waits."""
        ...

    def drained(self) -> bool:
        """Return, after the farewell, whether there is nothing more to wait for."""
        ...

    def close(self) -> None:
        """Close the connection at once; never raises."""
        ...


def redact(text: str, secrets: tuple[str, ...]) -> str:
    """Return a peer's text as one printable line of at most 200 characters, without secrets."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= SHORTEST_SECRET:
            text = text.replace(secret, "***")
    return "".join(char if char.isprintable() else " " for char in text)[:200].strip()
