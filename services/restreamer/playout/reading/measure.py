"""Measures a file's first packets: its pictures' rate, order and bitrate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from services.restreamer.model import FLICKS, Media, Packet, Track
from services.restreamer.playout.reading.splice import DEEPEST
from services.restreamer.playout.reading.verdict import FASTEST, LEAD, USUAL_RATE
from services.restreamer.sources.containers.timing import A_PACKET
from shared.media.seams.grid import RATES, find_grid
from shared.media.seams.source import reorder_depth

USUAL_BITRATE = 4_000_000
_MOST_BYTES = 24 << 20
_NEAR = Fraction(1, 20)


@dataclass(frozen=True, slots=True)
class Sample:
    """The first packets, to be played before the rest, and their measures. `depth`: pictures out of order."""

    packets: tuple[Packet, ...]
    rate: Fraction
    depth: int
    deep: bool
    bitrate: int

    @property
    def hole(self) -> int:
        """The least distance of two pictures, in flicks, at which the first one counts as a still."""
        return 3 * FLICKS * self.rate.denominator // (2 * self.rate.numerator)

    @property
    def first_key(self) -> Packet | None:
        """The keyframe that decoding begins with."""
        return next((packet for packet in self.packets if packet.kind == "video" and packet.key), None)


@dataclass(frozen=True, slots=True)
class Beginning:
    """First packets and their tracks; the media may already have those after a seam."""

    packets: tuple[Packet, ...]
    video: Track | None
    audio: Track | None


def look_ahead(media: Media, packets: Iterator[Packet]) -> Beginning:
    """Read packets from the first keyframe on until there are enough pictures. SourceError from the file."""
    taken: list[Packet] = []
    tracks = {"video": media.video, "audio": media.audio}
    told: set[str] = set()
    pictures = size = 0
    for packet in packets:
        if packet.kind not in told:
            told.add(packet.kind)
            tracks[packet.kind] = media.video if packet.kind == "video" else media.audio
        if packet.kind == "video":
            if not pictures and not packet.key:
                continue
            pictures += 1
        taken.append(packet)
        size += len(packet.data) + A_PACKET
        if pictures > 2 * DEEPEST or size > _MOST_BYTES:
            break
    return Beginning(tuple(taken), tracks["video"], tracks["audio"])


def measure(packets: tuple[Packet, ...], track: Track) -> Sample:
    """Measure rate, reordering and bitrate of packets."""
    video = [packet for packet in packets if packet.kind == "video"]
    times = np.array([packet.pts for packet in video], np.int64)
    order = np.sort(times)
    span = int(order[-1] - order[0]) if len(order) > 1 else 0
    size = sum(len(packet.data) for packet in video)
    return Sample(
        packets,
        track.rate if track.rate in RATES else _rate(order),
        reorder_depth(times),
        bool(len(times)) and int((order - LEAD - times).max()) > 0,
        size * 8 * FLICKS // span if span else USUAL_BITRATE,
    )


def _fits(rate: Fraction) -> bool:
    return 1 <= rate <= FASTEST


def _rate(order: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Fraction:
    """Return the frame rate of times in presentation order; the nearest usual one where they vary."""
    steps = np.diff(order)
    steps = steps[steps > 0]
    if not len(steps):
        return USUAL_RATE
    grid = find_grid(np.unique(order), FLICKS)
    if grid is not None and _fits(grid.rate):
        return grid.rate
    measured = Fraction(FLICKS, int(steps.mean()))
    near = min(RATES, key=lambda rate: abs(rate - measured))
    chosen = near if abs(near / measured - 1) < _NEAR else Fraction(round(measured))
    return min(max(chosen, Fraction(1)), Fraction(FASTEST))
