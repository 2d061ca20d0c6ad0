"""Where reading begins: the last keyframe before a time, and the sound that is heard with it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final

from services.restreamer.model import Kind, Packet, Track
from services.restreamer.sources.containers.timing import A_PACKET, MOST_BYTES, Timed

MOST_EARLY: Final = 1 << 12


def entered(flow: Iterable[Timed], start: int, *, video: bool) -> Iterator[Timed]:
    """Leave away what comes before the last keyframe at or before `start`, and sound that ends before that."""
    if not video:
        yield from (pair for pair in flow if pair[0].pts + pair[0].duration > start)
        return
    flow = iter(flow)
    early: deque[Timed] = deque()  # sound from before the keyframe that is heard with it
    held: list[Timed] = []
    tracks: dict[Kind, Track] = {}
    size, has_key = 0, False
    for pair in flow:
        packet, track = pair
        if track is not None and packet.kind == "video" and not has_key:
            tracks[packet.kind] = track
        if packet.kind == "video" and packet.key and (not has_key or packet.pts <= start):
            has_key = True
            early.extend(p for p in held if p[0].kind == "audio")
            tracks.update((before.kind, its) for before, its in held if its is not None)
            held.clear()
            while early and (len(early) > MOST_EARLY or not heard(early[0][0], packet.pts)):
                early.popleft()
            size = 0
        if has_key or packet.kind == "audio":
            held.append(pair)
            size += len(packet.data) + A_PACKET
        if has_key and ((packet.kind == "video" and packet.dts > start) or size > MOST_BYTES):
            break
    yield from _with_tracks(chain(early, held, flow), tracks)


def _with_tracks(pairs: Iterator[Timed], tracks: dict[Kind, Track]) -> Iterator[Timed]:
    """Yield all; the first of a kind comes with the track that was told before it."""
    while tracks and (pair := next(pairs, None)) is not None:
        packet, track = pair
        earlier = tracks.pop(packet.kind, None)
        yield packet, track or earlier
    yield from pairs


def heard(packet: Packet, at: int) -> bool:
    """Tell whether sound is needed from `at` on: the frame before the first one heard completes it (overlap)."""
    return packet.pts + 2 * packet.duration > at
