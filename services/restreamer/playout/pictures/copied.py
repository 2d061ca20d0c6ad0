"""Copied pictures: packets as they are, and encoded ones where an in or out point lies within a GOP (ADR 10, 14)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from services.restreamer.model import Packet, Track
from services.restreamer.playout.children.workshop import SeamsApart
from services.restreamer.playout.order.programme import TOLERANCE
from services.restreamer.playout.reading.splice import DEEPEST, Shot
from shared.media.bitstream.errors import BitstreamError
from shared.media.bitstream.nal import RandomAccess, break_link, entry_of, join_sample, split_sample
from shared.media.tracks import VideoCodec

Reread = Callable[[int], Iterator[Packet]]


@dataclass(slots=True)
class CopiedVideo:
    """Returns the pictures from `start` up to `limit` as shots in decode order; times are the part's.

    `seams` encodes what cannot be copied; None where the codec needs none. `reread` yields a file's packets again
    from the keyframe before a time. `shift` converts the part's times to the file's.
    """

    track: Track
    start: int
    limit: int | None
    seams: SeamsApart | None
    reread: Reread
    shift: int = 0
    done: bool = False
    """Whether the out point was reached."""
    _state: Literal["begin", "head", "copy"] = "begin"
    _ahead: deque[Packet] = field(default_factory=deque)
    _group: list[Packet] = field(default_factory=list)
    _tail: list[Packet] = field(default_factory=list)
    _highest: int = -1
    _floor: int = 0
    _told: Track | None = None

    def push(self, packet: Packet) -> list[Shot]:
        """Take the next packet in decode order."""
        if self.done:
            return []
        ahead = self._ahead
        ahead.append(packet)
        if len(ahead) <= DEEPEST:
            return []
        if self._state == "copy" and self.limit is None:
            packet = ahead.popleft()
            return [] if packet.pts < self._floor else [self._shot(packet)]
        return self._next()

    def finish(self) -> list[Shot]:
        """Handle the file's end or the out point (`done`); encode the pictures before the out point."""
        shots: list[Shot] = []
        while self._ahead and not self.done:
            shots += self._next()
        if self._state == "head" and self.seams is not None:
            shots += self._leave_head(None)
        if self._tail and self.seams is not None:
            shots += self._encode_tail(self.seams)
        return shots

    def _next(self) -> list[Shot]:
        packet = self._ahead.popleft()
        if self._state == "begin":
            inside = packet.pts < self.start - TOLERANCE
            self._state = "head" if inside and self.seams is not None else "copy"
            if self._state == "copy":
                return self._enter(packet)
        return self._head(packet) if self._state == "head" else self._copy(packet)

    def _head(self, packet: Packet) -> list[Shot]:
        """Decode up to the first picture that copying can begin with, and encode what is shown from `start` on."""
        assert self.seams is not None  # noqa: S101  a head has them
        if self._can_enter(packet):
            leading = [other for other in self._ahead if other.pts < packet.pts]
            shots = self._shots(self.seams.decode([packet, *leading], self.start, packet.pts))
            return shots + self._leave_head(packet.pts) + self._enter(packet)
        self._highest = max(self._highest, packet.pts)
        return self._shots(self.seams.decode([packet], self.start, self.limit)) + self._ended(self.seams)

    def _ended(self, seams: SeamsApart) -> list[Shot]:
        """End within the head when the out point is reached."""
        if self.limit is None or not seams.past(self.limit):
            return []
        self.done, self._state = True, "copy"
        return self._shots(seams.close(self.limit))

    def _leave_head(self, until: int | None) -> list[Shot]:
        assert self.seams is not None  # noqa: S101  a head has them
        limits = [limit for limit in (until, self.limit) if limit is not None]
        self._state = "copy"
        return self._shots(self.seams.close(min(limits) if limits else None))

    def _can_enter(self, packet: Packet) -> bool:
        """Return whether copying can begin: at a clean entry, when no earlier picture is shown after it."""
        if not packet.key or packet.pts < self.start - TOLERANCE or self._highest > packet.pts:
            return False
        return self._entry(packet) in (RandomAccess.CLEAN, RandomAccess.LEADING)

    def _entry(self, packet: Packet) -> RandomAccess:
        codec: VideoCodec = "hevc" if self.track.codec == "hevc" else "h264"
        try:
            return entry_of(codec, split_sample(packet.data, 4))
        except BitstreamError:
            return RandomAccess.NONE

    def _enter(self, packet: Packet) -> list[Shot]:
        """Start copying; an HEVC CRA picture whose leading pictures are dropped is marked as a broken link."""
        self._floor, self._highest = packet.pts, -1
        if self.track.codec == "hevc" and self._entry(packet) is RandomAccess.LEADING:
            data = join_sample(break_link(split_sample(packet.data, 4)), 4)
            packet = Packet("video", packet.dts, packet.pts, packet.duration, key=True, data=data)
        return self._copy(packet)

    def _copy(self, packet: Packet) -> list[Shot]:
        """Collect packets until no later one is shown before them; return them, up to the out point."""
        if packet.pts < self._floor:
            return []
        if self.limit is None:
            return [self._shot(packet)]
        self._group.append(packet)
        self._highest = max(self._highest, packet.pts)
        if any(self._floor <= other.pts < self._highest for other in self._ahead):
            return []
        group, self._group = self._group, []
        if self._highest < self.limit - TOLERANCE:
            return [self._shot(other) for other in group]
        self._tail = [other for other in group if other.pts < self.limit - TOLERANCE]
        self.done = True
        return []

    def _shot(self, packet: Packet) -> Shot:
        at = packet.pts - self.shift
        return Shot(packet.pts, at, packet.duration, packet.key, packet.data, self._configure(packet.key))

    def _configure(self, key: bool) -> Track | None:
        """Return the track where it changes."""
        if not key:
            return None
        track = self.seams.track if self.seams is not None else self.track
        if track == self._told:
            return None
        self._told = track
        return track

    def _shots(self, pictures: Iterable[tuple[int, bool, bytes]]) -> list[Shot]:
        return [
            Shot(pts, pts - self.shift, 0, key, data, self._configure(key)) for pts, key, data in pictures
        ]  # fmt: skip

    def _encode_tail(self, seams: SeamsApart) -> list[Shot]:
        """Decode again from the last keyframe, and encode the last pictures, whose order the out point cuts."""
        first = min(packet.pts for packet in self._tail)
        limit = max(packet.pts for packet in self._tail) + 2 * TOLERANCE
        pictures: list[tuple[int, bool, bytes]] = []
        for packet in self.reread(first):
            if packet.kind != "video":
                continue
            pictures += seams.decode([packet], first, limit)
            if seams.past(limit - TOLERANCE):
                break
        return self._shots([*pictures, *seams.close(limit)])
