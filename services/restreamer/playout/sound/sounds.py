"""Writes a part's sound to the lane: copied, encoded, or silence instead."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Protocol

from services.restreamer.model import FLICKS, Packet, Track
from services.restreamer.playout.reading.evener import LONGEST_STILL
from services.restreamer.playout.reading.splice import Splicer
from shared.media.transcode.resampled import Piece
from shared.media.transcode.sound_packets import Silence, samples_of, silence_for
from shared.media.transcode.sound_run import Samples, SoundRun

LATE = FLICKS // 5
"""How much later than the pictures' packets sound may come before it counts as missing."""
_MOST_HELD = 4096
MOST_LAID = 2 * LONGEST_STILL
"""How far ahead of its pictures sound is written, after silence; later sound is dropped."""
MOST_DECODED = 60 * FLICKS
"""How much sound is decoded ahead of its pictures; later sound is dropped."""
MOST_WAITING = 120 * FLICKS
"""How much decoded sound waits for its pictures; more is dropped."""


class Sound(Protocol):
    """Takes a part's packets of sound in order, and advances with its pictures."""

    def push(self, packet: Packet) -> None:
        """Take the next packet; times are the part's."""
        ...

    def advance(self, reached: int) -> None:
        """Fill what is missing: all packets up to the part's time `reached` were pushed."""
        ...

    def finish(self) -> None:
        """End the sound where the part's pictures end, which is known now."""
        ...


class CopiedSound:
    """Writes packets as they are."""

    def __init__(self, track: Track, splicer: Splicer) -> None:
        self._track, self._splicer = track, splicer
        self._early: deque[Packet] = deque(maxlen=_MOST_HELD)
        self._silence: Silence | None = None
        splicer.lane.join(track)

    def push(self, packet: Packet) -> None:
        """Write a packet, or keep it until the first picture is known."""
        if self._early or self._splicer.zero is None:
            self._early.append(packet)
            self._lay_early()
        else:
            self._lay(packet)

    def advance(self, reached: int) -> None:
        """Write what was kept; fill gaps with silent packets."""
        if self._splicer.zero is None:
            return
        if self._early:
            self._lay_early()
        self._splicer.lane.fill(min(self._splicer.out(reached) - LATE, self._splicer.shown), self._quiet())

    def finish(self) -> None:
        """Fill up to the pictures' end, or remove what is beyond it."""
        self._lay_early()
        lane, end = self._splicer.lane, self._splicer.picture_end
        lane.trim(end)
        lane.fill(end, self._quiet())

    def _lay_early(self) -> None:
        while self._early and self._splicer.zero is not None:
            self._lay(self._early.popleft())

    def _quiet(self) -> Silence | None:
        if self._silence is None:
            self._silence = silence_for(self._track, samples_of(self._track, b"", 0))
        return self._silence

    def _lay(self, packet: Packet) -> None:
        samples = samples_of(self._track, packet.data, packet.duration)
        at = self._splicer.out(packet.pts)
        if samples <= 0 or not self._track.sample_rate or at - self._splicer.shown > MOST_LAID:
            return
        duration = samples * FLICKS // self._track.sample_rate
        if self._silence is None or self._silence.duration != duration:
            self._silence = silence_for(self._track, samples)
        self._splicer.lane.lay(at, packet.data, duration, self._silence)


class NoSound:
    """Silence: silent packets, or silence from an encoder that already runs."""

    def __init__(self, splicer: Splicer, track: Track, samples: int, run: SoundRun | None) -> None:
        self._splicer, self._run = splicer, run
        self._silence = silence_for(track, samples)
        splicer.lane.join(run.track if run is not None else track)

    def push(self, packet: Packet) -> None:
        """Take nothing: the part has no sound."""

    def advance(self, reached: int) -> None:
        """Write silence up to the part's time `reached`."""
        if self._splicer.zero is not None:
            self._until(min(self._splicer.out(reached), self._splicer.shown))

    def finish(self) -> None:
        """Write silence up to the pictures' end."""
        self._until(self._splicer.picture_end)

    def _until(self, out: int) -> None:
        if self._run is not None:
            self._run.pad(self._run.position(out))
        else:
            self._splicer.lane.fill(out, self._silence)


class Heard(Protocol):
    """A part's sound, decoded: pieces in the output's layout and rate."""

    def push(self, packet: Packet) -> Iterable[Piece]:
        """Decode a packet. SourceError."""
        ...

    def finish(self) -> Iterable[Piece]:
        """Return what is held back."""
        ...


class EncodedSound:
    """Writes a part's decoded sound to a run, each sample at its time."""

    def __init__(self, heard: Heard, splicer: Splicer, run: SoundRun) -> None:
        self._splicer, self._run, self._heard = splicer, run, heard
        self._held: deque[tuple[int, int, Samples]] = deque()
        self._waiting = 0  # samples that are held
        splicer.lane.join(run.track)

    def push(self, packet: Packet) -> None:
        """Decode a packet. SourceError."""
        if self._splicer.zero is not None and self._splicer.out(packet.pts) - self._splicer.shown > MOST_DECODED:
            return
        self._hold(self._heard.push(packet))

    def advance(self, reached: int) -> None:
        """Write the sound of the pictures taken so far."""
        if self._splicer.zero is None:
            return
        self._write(self._splicer.shown)
        missing = min(self._splicer.out(reached) - 2 * LATE, self._splicer.shown)
        if not self._held:
            self._run.pad(self._run.position(missing))

    def finish(self) -> None:
        """End where the pictures end, to the sample."""
        self._hold(self._heard.finish())
        end = self._splicer.picture_end
        if self._splicer.zero is not None:
            self._write(end)
        self._held.clear()
        self._run.pad(self._run.position(end))

    def _hold(self, pieces: Iterable[Piece]) -> None:
        for piece in pieces:
            if self._waiting < MOST_WAITING * self._run.rate // FLICKS:
                self._waiting += piece.samples.shape[1]
                self._held.append((piece.stretch, piece.count, piece.samples))

    def _write(self, until: int) -> None:
        """Write held samples that come before the output time `until`."""
        last = self._run.position(until)
        while self._held:
            stretch, count, samples = self._held.popleft()
            self._waiting -= samples.shape[1]
            position = self._run.position(self._splicer.out(stretch)) + count
            room = last - position
            if room <= 0:
                self._again(stretch, count, samples)
                return
            self._run.write(position, samples[:, :room])
            if room < samples.shape[1]:
                self._again(stretch, count + room, samples[:, room:])
                return

    def _again(self, stretch: int, count: int, samples: Samples) -> None:
        self._held.appendleft((stretch, count, samples))
        self._waiting += samples.shape[1]
