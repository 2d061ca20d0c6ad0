"""Times that a player can rely on: each frame has both, none falls back, jumps are taken out, both kinds in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from services.restreamer.model import FLICKS, Kind, Packet, SourceError, Track
from services.restreamer.sources.containers.tracks import frame_duration
from services.restreamer.sources.frames import Raw

USUAL: Final = FLICKS // 30
BACK: Final = FLICKS // 2
FORWARD: Final = 10 * FLICKS
APART: Final = 3 * FLICKS  # how far sound and picture may be apart after a jump
LONGEST_WAIT: Final = 10 * FLICKS
MOST_BYTES: Final = 32 << 20
A_PACKET: Final = 1 << 9
"""Bytes that a packet counts for beside its data: empty ones take memory, too."""
MOST_A_SECOND: Final = 2000
"""Frames of a kind within a second; all would be sent at once, and packets of sound are of 2.5 ms at the least."""


def complete(raws: Iterable[Raw]) -> Iterator[Raw]:
    """Yield every frame a decode time that is after the one before it, and none after it is shown."""
    waiting: dict[Kind, list[Raw]] = {"video": [], "audio": []}
    last: dict[Kind, int] = {}
    size = 0  # of what waits
    for raw in raws:
        held, dts = waiting[raw.kind], raw.dts
        if dts is not None and dts <= raw.pts and not held:  # as nearly always
            last[raw.kind] = dts
            yield raw
            continue
        wait = raw.kind == "video" and raw.kind not in last and len(held) < 64 and size < MOST_BYTES
        if dts is None and wait:
            held.append(raw)  # decode times are known some frames later: these lie before them
            size += len(raw.data)
            continue
        if dts is None:
            dts = min(raw.pts, last.get(raw.kind, raw.pts - 1) + (raw.duration or 1))
        if held:
            yield from _backwards(held, dts)
            held.clear()
        last[raw.kind] = dts
        yield raw if raw.dts == dts <= raw.pts else replace(raw, dts=min(dts, raw.pts))
    for held in waiting.values():
        yield from _backwards(held, max((raw.pts for raw in held), default=0) + USUAL)


def _backwards(held: list[Raw], until: int) -> Iterator[Raw]:
    """Count decode times of frames without one back from the next that has one."""
    for left, raw in zip(range(len(held), 0, -1), held, strict=True):
        yield replace(raw, dts=min(until - left * (raw.duration or USUAL), raw.pts))


class Steady:
    """Takes jumps out of times. Sound and picture jump at different places, and then go on together."""

    def __init__(self) -> None:
        self.jumped = False
        self._shift: dict[Kind, int] = {}
        self._newest = 0
        self._end: dict[Kind, int] = {}

    def run(self, raws: Iterable[Raw]) -> Iterator[Raw]:
        """Yield the frames on one steady time line."""
        shifts, ends = self._shift, self._end
        for raw in raws:
            kind, dts = raw.kind, raw.dts or 0
            shift = shifts.setdefault(kind, self._newest)
            at = dts + shift
            expected = ends.get(kind, at)
            if not -BACK < at - expected < FORWARD:
                shift = shifts[kind] = self._after_jump(dts, expected)
                at = dts + shift
            ends[kind] = at + (raw.duration or 1)
            if shift or raw.dts is None:
                yield Raw(kind, at, raw.pts + shift, raw.duration, raw.key, raw.data, raw.track)
            else:
                yield raw

    def _after_jump(self, dts: int, expected: int) -> int:
        """Join what the other kind has done already, or begin a new time line where this kind's old one ended."""
        self.jumped = True
        if abs(dts + self._newest - expected) >= APART:
            self._newest = expected - dts
        return self._newest


def timed(raws: Iterable[Raw], tracks: dict[Kind, Track | None]) -> Iterator[tuple[Packet, Track | None]]:
    """Make packets: a picture lasts until the next one is decoded, sound as long as its codec says.

    Each comes with its track, where that is new. Decode times never fall within a kind, and go on: SourceError where
    more than MOST_A_SECOND frames come within a second.
    """
    held: dict[Kind, tuple[int, Raw]] = {}
    until: dict[Kind, int] = {}  # when a second is over
    left: dict[Kind, int] = {}  # how many frames may come in it
    exact: dict[Kind, int | None] = {"video": None, "audio": None}
    usual: dict[Kind, int] = {"video": USUAL, "audio": USUAL}
    for kind, track in tracks.items():
        exact[kind] = frame_duration(track) if track is not None else None
    for raw in raws:
        kind = raw.kind
        if raw.track is not None:
            exact[kind] = frame_duration(raw.track)
        dts = raw.dts or 0
        pair = held.get(kind)
        if pair is not None:
            began, before = pair
            dts = dts if dts > began else began + 1
            if dts >= until.get(kind, dts):
                until[kind], left[kind] = dts + FLICKS, MOST_A_SECOND
            left[kind] -= 1
            if left[kind] < 0:
                raise SourceError(f"the file has more than {MOST_A_SECOND} frames in a second")
            length = dts - began if kind == "video" else exact[kind] or before.duration
            usual[kind] = length = length or dts - began
            pts = before.pts
            yield Packet(kind, began, max(began, pts), length, before.key, before.data), before.track
        held[kind] = dts, raw
    for dts, raw in sorted(held.values(), key=lambda pair: pair[0]):
        length = exact[raw.kind] or raw.duration or usual[raw.kind]
        yield Packet(raw.kind, dts, max(raw.pts, dts), length, raw.key, raw.data), raw.track


Timed = tuple[Packet, Track | None]


def merged(pairs: Iterable[Timed], kinds: int) -> Iterator[Timed]:
    """Put both kinds in the order of their decode times, as far as a bounded look ahead can."""
    video: deque[Timed] = deque()
    audio: deque[Timed] = deque()
    size = 0
    for pair in pairs:
        packet = pair[0]
        (video if packet.kind == "video" else audio).append(pair)
        size += len(packet.data) + A_PACKET
        while video and audio:
            first = (video if video[0][0].dts <= audio[0][0].dts else audio).popleft()
            size -= len(first[0].data) + A_PACKET
            yield first
        queue = video or audio
        while queue and not (kinds > 1 and size < MOST_BYTES and queue[-1][0].dts - queue[0][0].dts < LONGEST_WAIT):
            first = queue.popleft()  # the frame that is next for certain, or has waited for long
            size -= len(first[0].data) + A_PACKET
            yield first
    yield from sorted((*video, *audio), key=lambda pair: pair[0].dts)
