"""What formats, connections and targets share."""

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

    `pieces` is `data` cut into datagrams (SRT); `heads` is where message headers keep their stream id (RTMP).
    """

    data: bytes
    units: int
    at: int
    pieces: tuple[bytes, ...] = ()
    heads: tuple[int, ...] = ()


class TargetError(DestinationFailed):
    """A target cannot be called, or was lost; the text is for people and holds no secret.

    `final`: the other side said no, or what was asked is wrong; another call soon is vain. `stuck`: it takes too
    little.
    """

    def __init__(self, text: str, *, final: bool = False, stuck: bool = False) -> None:
        super().__init__(text, final=final)
        self.stuck = stuck


@dataclass(slots=True)
class Tracks:
    """What the programme consists of at a moment."""

    video: Track | None = None
    audio: Track | None = None

    def learn(self, track: Track) -> None:
        """Take a new configuration."""
        if track.kind == "video":
            self.video = track
        else:
            self.audio = track

    def copy(self) -> Tracks:
        """Return one that stays as this is now."""
        return Tracks(self.video, self.audio)


class Packer(Protocol):
    """Writes units in a target's format. One packer serves all targets of the format."""

    def unfit(self, track: Track) -> str:
        """Say why the format cannot carry a track; empty: it can."""
        ...

    def head(self, tracks: Tracks, at: int) -> Block:
        """Write what a target needs before the first unit that it gets, whose decode time is `at`."""
        ...

    def configure(self, tracks: Tracks, fresh: Collection[str], at: int) -> Block:
        """Write what targets need where the programme changes to `tracks`; `fresh` are the kinds that changed."""
        ...

    def pack(self, units: Sequence[Unit]) -> Block:
        """Write units; their configuration was written before."""
        ...


@dataclass(slots=True)
class Queue:
    """What a connection has not taken yet, with the monotonic times at which it was given."""

    blocks: deque[tuple[Block, int]] = field(default_factory=deque)
    bytes: int = 0
    units: int = 0
    popped: int = 0
    """Counts the blocks that were sent."""

    def put(self, block: Block, now_ns: int) -> None:
        """Add one at the end."""
        self.blocks.append((block, now_ns))
        self.bytes += len(block.data)
        self.units += block.units

    def pop(self) -> None:
        """Take the first away: all of it was sent."""
        block, _ = self.blocks.popleft()
        self.popped += 1
        self.bytes -= len(block.data)
        self.units -= block.units

    def waits_ns(self, now_ns: int) -> int:
        """Tell how long the first has waited."""
        return now_ns - self.blocks[0][1] if self.blocks else 0


class Line(Protocol):
    """An open connection, the pacer's alone: no call waits. Every call may raise TargetError, its end."""

    @property
    def queue(self) -> Queue:
        """What waits."""
        ...

    @property
    def sent(self) -> int:
        """Count the bytes since it was opened."""
        ...

    def ready(self) -> str:
        """Say why nothing can be sent yet; empty: it can."""
        ...

    def accept(self, tracks: Tracks) -> None:
        """Raise TargetError when the other side has said that it does not take these."""
        ...

    def put(self, block: Block, now_ns: int) -> None:
        """Queue a block."""
        ...

    def flush(self, now_ns: int) -> None:
        """Send what is taken at once."""
        ...

    def listen(self, now_ns: int) -> None:
        """Read answers; notice the end of the connection."""
        ...

    def farewell(self, now_ns: int) -> None:
        """Put a goodbye behind what waits."""
        ...

    def drained(self) -> bool:
        """Tell, after the farewell, whether nothing more needs to be waited for."""
        ...

    def close(self) -> None:
        """End it at once; never raises."""
        ...


def redact(text: str, secrets: tuple[str, ...]) -> str:
    """Make a peer's words fit to be shown: one printable line of at most 200 characters, without secrets."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= SHORTEST_SECRET:
            text = text.replace(secret, "***")
    return "".join(char if char.isprintable() else " " for char in text)[:200].strip()
