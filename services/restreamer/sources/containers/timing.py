"""Correct times: each frame has dts and pts, no time goes back, jumps are removed, both kinds are in order."""

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
APART: Final = 3 * FLICKS  # how far audio and video may be apart after a jump
LONGEST_WAIT: Final = 10 * FLICKS
MOST_BYTES: Final = 32 << 20
A_PACKET: Final = 1 << 9
"""Bytes that a packet counts for besides its data: empty ones take memory, too."""
MOST_A_SECOND: Final = 2000
"""The most frames of a kind within a second, all of which are sent at once; audio packets have at least 2.5 ms."""


def complete(raws: Iterable[Raw]) -> Iterator[Raw]:
    """Yield every frame with a decode time that is after the previous one's and not after its pts."""
    waiting: dict[Kind, list[Raw]] = {"video": [], "audio": []}
    last: dict[Kind, int] = {}
    size = 0  # of the waiting frames
    for raw in raws:
        held, dts = waiting[raw.kind], raw.dts
        if dts is not None and dts <= raw.pts and not held:  # the usual case
            last[raw.kind] = dts
            yield raw
            continue
        wait = raw.kind == "video" and raw.kind not in last and len(held) < 64 and size < MOST_BYTES
        if dts is None and wait:
            held.append(raw)  # decode times are known some frames later: these frames come before them
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
    """Yield frames without decode times, with times counted back from the next known one."""
    for left, raw in zip(range(len(held), 0, -1), held, strict=True):
        yield replace(raw, dts=min(until - left * (raw.duration or USUAL), raw.pts))


class Steady:
    """Removes jumps from times. Audio and video jump at different frames, and then continue together."""

    def __init__(self) -> None:
        self.jumped = False
        self._shift: dict[Kind, int] = {}
        self._newest = 0
        self._end: dict[Kind, int] = {}

    def run(self, raws: Iterable[Raw]) -> Iterator[Raw]:
        """Yield the frames on one continuous time line."""
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
        """Return the shift that the other kind already has, or one that continues at the end of this kind's times."""
        self.jumped = True
        if abs(dts + self._newest - expected) >= APART:
            self._newest = expected - dts
        return self._newest


def timed(raws: Iterable[Raw], tracks: dict[Kind, Track | None]) -> Iterator[tuple[Packet, Track | None]]:
    """Yield packets: a picture lasts until the next one is decoded, audio as long as its codec says.

    Each comes with its track, if that is new. Decode times rise within a kind; raise SourceError when more than
    MOST_A_SECOND frames come within a second.
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
    """Yield both kinds in the order of decode times, as far as a bounded look-ahead allows."""
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
            first = queue.popleft()  # the frame is certainly next, or has waited long
            size -= len(first[0].data) + A_PACKET
            yield first
    yield from sorted((*video, *audio), key=lambda pair: pair[0].dts)
