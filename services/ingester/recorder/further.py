"""Sound tracks after the first: they follow the session's time line, and never decide anything about it.

Their stamps are of the same clock as those of the pictures and the first sound. While it is unclear whether that clock
has jumped, their packets wait. Then a packet that goes on from the one before it follows that; any other one goes where
one of the offsets in use puts it nearest to the present.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from services.ingester.publication import VIDEO_SCALE, Frame
from services.ingester.recorder.sound_grid import OnGrid, Packet, SoundGrid
from services.ingester.recorder.timing import SLACK, TimeLine
from shared.media.tracks import TrackConfig

FAR: Final = 10 * VIDEO_SCALE
"""A packet further than this from the present is dropped: its track has a clock of its own, or none."""
MOST_WAITING: Final = 4096
MOST_BYTES: Final = 16 << 20


class FurtherPacket(NamedTuple):
    """A packet with its track and its position in samples."""

    config: TrackConfig
    at: int
    packet: Packet


@dataclass(slots=True)
class FurtherSounds:
    """The further sound tracks of a session; `dropped` counts packets that fit nowhere."""

    dropped: int = 0
    configs: dict[int, TrackConfig] = field(default_factory=dict)
    """The newest description of each track that has come, by track id."""
    _grids: dict[int, tuple[TrackConfig, SoundGrid]] = field(default_factory=dict)
    _ends: dict[int, tuple[int, int | None]] = field(default_factory=dict)
    _waiting: deque[Frame] = field(default_factory=deque)
    _bytes: int = 0

    @property
    def waits(self) -> bool:
        """Whether packets wait for their position."""
        return bool(self._waiting)

    @property
    def tracks(self) -> tuple[TrackConfig, ...]:
        """The tracks that have come, by track id."""
        return tuple(self.configs[number] for number in sorted(self.configs))

    def add(self, frame: Frame) -> None:
        """Take a packet; the oldest are dropped when too many wait."""
        number = frame.config.track_id
        if frame.config != self.configs.get(number):
            self.configs[number] = frame.config
        self._waiting.append(frame)
        self._bytes += len(frame.payload)
        while len(self._waiting) > MOST_WAITING or self._bytes > MOST_BYTES:
            self._bytes -= len(self._waiting.popleft().payload)
            self.dropped += 1

    def settled(self, line: TimeLine) -> Iterator[FurtherPacket]:
        """Yield the packets that have a position; none while the time line is unclear."""
        if line.is_unclear:
            return
        while self._waiting:
            frame = self._waiting.popleft()
            self._bytes -= len(frame.payload)
            time = self._time(frame, line)
            if abs(time - line.now) > FAR:
                self.dropped += 1
            elif time >= 0:
                yield from self._placed(frame, time)

    def flush(self) -> Iterator[FurtherPacket]:
        """Yield the packets that waited to be put on the grid of samples, at the end."""
        for config, grid in self._grids.values():
            yield from _with(config, grid.flush())

    def _time(self, frame: Frame, line: TimeLine) -> int:
        number, length = frame.config.track_id, frame.duration * VIDEO_SCALE // frame.config.timescale
        offset, end = self._ends.get(number, (0, None))
        if end is None or abs(frame.dts + offset - end) > SLACK:
            offset = line.offset_for(frame.dts)
        self._ends[number] = offset, frame.dts + offset + length
        return frame.dts + offset

    def _placed(self, frame: Frame, time: int) -> Iterator[FurtherPacket]:
        number, config = frame.config.track_id, self.configs[frame.config.track_id]
        known = self._grids.get(number)
        if known is None or known[0] != frame.config:
            config = config if config == frame.config else frame.config
            known = self._grids[number] = config, SoundGrid(config.timescale)
        yield from _with(known[0], known[1].place(Packet(time, frame.duration, frame.payload)))


def _with(config: TrackConfig, placed: tuple[OnGrid, ...]) -> Iterator[FurtherPacket]:
    return (FurtherPacket(config, at, packet) for at, packet in placed)
