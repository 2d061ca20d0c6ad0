"""Where reading starts: at the last keyframe before a time, with the audio that plays with it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final

from services.restreamer.model import Kind, Packet, Track
from services.restreamer.sources.containers.timing import A_PACKET, MOST_BYTES, Timed

MOST_EARLY: Final = 1 << 12


def entered(flow: Iterable[Timed], start: int, *, video: bool) -> Iterator[Timed]:
    """Yield packets from the last keyframe at or before `start`, without audio that ends before it."""
    if not video:
        yield from (pair for pair in flow if pair[0].pts + pair[0].duration > start)
        return
    flow = iter(flow)
    early: deque[Timed] = deque()  # audio before the keyframe that plays with it
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
    """Yield all packets; the first of a kind gets the track that was announced before it."""
    while tracks and (pair := next(pairs, None)) is not None:
        packet, track = pair
        earlier = tracks.pop(packet.kind, None)
        yield packet, track or earlier
    yield from pairs


def heard(packet: Packet, at: int) -> bool:
    """Return whether audio from `at` on needs this packet: the frame before the first one completes it (overlap)."""
    return packet.pts + 2 * packet.duration > at
