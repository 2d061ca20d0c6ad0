"""Work on untrusted packets in a child process: encoding pictures, decoding sound, seams (ADR 16)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from services.restreamer.model import Packet, SourceError, Track
from services.restreamer.playout.pictures.recoded import RecodedVideo
from services.restreamer.playout.pictures.seams import Coded, Seams
from services.restreamer.playout.reading.measure import Sample
from services.restreamer.playout.reading.splice import Shot
from services.restreamer.sources.apart.works import Given
from services.restreamer.sources.frames import Raw
from shared.media.transcode.decoder import SoundDecoder
from shared.media.transcode.overlay import Overlay
from shared.media.transcode.resampled import Piece, Resampled
from shared.media.transcode.shape import Shape

NO_TRACK: Final = b""


@dataclass(frozen=True, slots=True)
class Recoding:
    """An order to decode, fit and encode pictures: the arguments of RecodedVideo."""

    track: Track
    shape: Shape
    start: int
    limit: int | None
    hole: int
    mark: Overlay | None = None

    def work(self) -> Recoder:
        """Return the worker that does it."""
        return Recoder(RecodedVideo(self.track, self.shape, self.start, self.limit, hole=self.hole, mark=self.mark))


class Recoder:
    """Runs a RecodedVideo. A frame's pts is the part's time, its dts the file's."""

    reached = 0

    def __init__(self, video: RecodedVideo) -> None:
        self._video = video

    @property
    def over(self) -> bool:
        """Return whether the out point was reached."""
        return self._video.done

    def begin(self) -> Iterator[Raw]:
        """Yield nothing: nothing is known before the first picture."""
        return iter(())

    def push(self, given: Given) -> Iterator[Raw]:
        """Take the next packet."""
        self._video.shift, self._video.limit = given.shift, given.limit
        return map(_raw, self._video.push(_packet(given)))

    def finish(self, given: Given) -> Iterator[Raw]:
        """Handle the file's end."""
        self._video.shift, self._video.limit = given.shift, given.limit
        return map(_raw, self._video.finish())


@dataclass(frozen=True, slots=True)
class Hearing:
    """An order to decode and resample sound."""

    track: Track
    layout: str
    rate: int

    def work(self) -> Listener:
        """Return the worker that does it."""
        return Listener(Resampled(SoundDecoder(self.track), self.layout, self.rate))


class Listener:
    """Runs a Resampled. A frame's dts is where its run began, its pts the samples since then."""

    over = False
    reached = 0

    def __init__(self, sound: Resampled) -> None:
        self._sound = sound

    def begin(self) -> Iterator[Raw]:
        """Yield nothing: nothing is known before the first packet."""
        return iter(())

    def push(self, given: Given) -> Iterator[Raw]:
        """Take the next packet."""
        return map(_samples, self._sound.push(_packet(given)))

    def finish(self, given: Given) -> Iterator[Raw]:
        """Handle the end of the sound."""
        del given
        return map(_samples, self._sound.finish())


@dataclass(frozen=True, slots=True)
class Joining:
    """An order to encode pictures that continue copied ones; `sample` has its first keyframe alone."""

    track: Track
    sample: Sample
    tail: bool

    def work(self) -> Joiner:
        """Return the worker that does it."""
        return Joiner(Seams(self.track, self.sample, tail=self.tail), self.track)


class Joiner:
    """Runs Seams. A frame carries the track that it is decoded with where that changes."""

    over = False

    def __init__(self, seams: Seams, track: Track) -> None:
        self._seams, self._told = seams, track

    @property
    def reached(self) -> int:
        """Return the time up to which pictures were decoded."""
        return self._seams.latest

    def begin(self) -> Iterator[Raw]:
        """Yield the track if it differs from the start."""
        track = self._changed()
        if track is not None:
            yield Raw("video", None, 0, 0, key=False, data=NO_TRACK, track=track)

    def push(self, given: Given) -> Iterator[Raw]:
        """Take the next packet."""
        return self._given(self._seams.decode([_packet(given)], given.start, given.limit))

    def finish(self, given: Given) -> Iterator[Raw]:
        """End the seam."""
        return self._given(self._seams.close(given.limit))

    def _given(self, pictures: Iterable[Coded]) -> Iterator[Raw]:
        for pts, key, data in pictures:
            yield Raw("video", None, pts, 0, key, data, self._changed() if key else None)

    def _changed(self) -> Track | None:
        track = self._seams.track
        if track == self._told:
            return None
        self._told = track
        return track


def _packet(given: Given) -> Packet:
    if given.packet is None:
        raise SourceError("there is no packet")
    return given.packet


def _raw(shot: Shot) -> Raw:
    return Raw("video", shot.at, shot.pts, shot.duration, shot.key, shot.data, shot.track)


def _samples(piece: Piece) -> Raw:
    return Raw("audio", piece.stretch, piece.count, 0, key=True, data=piece.samples.tobytes(), track=None)


def lean(sample: Sample) -> Sample:
    """Return a sample with its first keyframe alone."""
    key = sample.first_key
    return replace(sample, packets=() if key is None else (key,))
