"""Decodes and encodes one range in child processes (ADR 16): proxies of RecodedVideo, Resampled and Seams."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from threading import Event
from typing import Final

import numpy as np

from services.restreamer.model import Packet, SourceError, Track
from services.restreamer.playout.children.commissions import Hearing, Joining, Recoding, lean
from services.restreamer.playout.order.programme import TOLERANCE
from services.restreamer.playout.pictures.seams import Coded
from services.restreamer.playout.reading.evener import LONGEST_DELAY, LONGEST_STILL
from services.restreamer.playout.reading.measure import Sample
from services.restreamer.playout.reading.splice import Shot
from services.restreamer.sources.access import Stopped
from services.restreamer.sources.apart.children import children
from services.restreamer.sources.apart.confined import Bounds
from services.restreamer.sources.apart.kept import Keep
from services.restreamer.sources.apart.working import Working
from services.restreamer.sources.apart.works import Commission, Given
from services.restreamer.sources.frames import Raw
from shared.media.transcode.decoder import MOST_PIXELS, check
from shared.media.transcode.errors import Undecodable
from shared.media.transcode.overlay import Overlay
from shared.media.transcode.picture_encoder import depth_of
from shared.media.transcode.resampled import Piece
from shared.media.transcode.shape import Shape

A_PIXEL: Final = 160
"""Bytes for each pixel of the larger picture: 16 pictures of 10 bits in the decoder, and twice as many after it."""
_STEP: Final = 128 << 20
_NONSENSE: Final = "the file makes its decoder talk nonsense"


class RecodedApart:
    """A RecodedVideo in a child."""

    def __init__(self, working: Working, shape: Shape, start: int, limit: int | None) -> None:
        self._working, self._shape = working, shape
        self.start, self.limit = start, limit
        self.shift = 0
        self._reach = start
        self._known = False

    @property
    def done(self) -> bool:
        """Return whether the out point was reached."""
        return self._working.over

    @property
    def depth(self) -> int:
        """How many pictures at most are out of order."""
        return depth_of(self._shape)

    def push(self, packet: Packet) -> Iterator[Shot]:
        """Take the next packet in decode order. SourceError."""
        if not self.done:
            self._reach = max(self._reach, packet.pts, packet.dts)
            yield from map(self._shot, self._working.push(Given(packet, self.shift, self.start, self.limit)))

    def finish(self) -> Iterator[Shot]:
        """Handle the file's end, or the out point (`done`). SourceError."""
        yield from map(self._shot, self._working.finish(Given(None, self.shift, self.start, self.limit)))

    def _shot(self, raw: Raw) -> Shot:
        late = max(self._reach, self.limit or 0) + LONGEST_STILL + LONGEST_DELAY
        track, shape = raw.track, self._shape
        fits = track is None or (track.codec, track.width, track.height) == (shape.video, shape.width, shape.height)
        if raw.dts is None or raw.kind != "video" or not fits or not self.start - LONGEST_DELAY <= raw.pts <= late:
            raise SourceError(_NONSENSE)
        if not self._known and track is None:
            raise SourceError(_NONSENSE)
        self._known = True
        return Shot(raw.pts, raw.dts, 0, raw.key, raw.data, track)


class HeardApart:
    """A Resampled in a child; its pieces are `channels` x samples."""

    def __init__(self, working: Working, channels: int) -> None:
        self._working, self._channels = working, channels

    def push(self, packet: Packet) -> Iterator[Piece]:
        """Decode a packet. SourceError."""
        return map(self._piece, self._working.push(Given(packet)))

    def finish(self) -> Iterator[Piece]:
        """Yield what is held back; less of it if the child fails."""
        try:
            yield from map(self._piece, self._working.finish(Given()))
        except SourceError:
            return

    def _piece(self, raw: Raw) -> Piece:
        if raw.kind != "audio" or raw.dts is None or raw.pts < 0 or len(raw.data) % (4 * self._channels):
            raise SourceError(_NONSENSE)
        samples = np.frombuffer(raw.data, np.float32).reshape(self._channels, -1)
        if not np.isfinite(samples).all():  # encoders reject such samples
            samples = np.nan_to_num(samples, posinf=0, neginf=0)
        return Piece(raw.dts, raw.pts, samples)


class SeamsApart:
    """Seams in a child."""

    def __init__(self, working: Working, track: Track) -> None:
        self._working = working
        self.track = track
        self._codec = track.codec
        self._reach = 0
        self._taken(working.told)

    def past(self, limit: int) -> bool:
        """Return whether a picture at or after `limit` was decoded."""
        return self._working.reached >= limit - TOLERANCE

    def decode(self, packets: list[Packet], start: int, limit: int | None) -> list[Coded]:
        """Decode packets, and encode those frames that are shown from `start` up to `limit`. SourceError."""
        coded: list[Coded] = []
        for packet in packets:
            self._reach = max(self._reach, packet.pts, packet.dts)
            coded += self._taken(self._working.push(Given(packet, 0, start, limit)), limit)
        return coded

    def close(self, limit: int | None) -> list[Coded]:
        """End the seam; return its last pictures, up to `limit`. SourceError."""
        return self._taken(self._working.finish(Given(None, 0, 0, limit)), limit)

    def _taken(self, raws: Iterable[Raw], limit: int | None = None) -> list[Coded]:
        coded: list[Coded] = []
        for raw in raws:
            late = max(self._reach, limit or 0) + LONGEST_STILL + LONGEST_DELAY
            other = raw.track is not None and raw.track.codec != self._codec
            if other or not -LONGEST_STILL <= raw.pts <= late:
                raise SourceError(_NONSENSE)
            self.track = raw.track or self.track
            if raw.data:
                coded.append((raw.pts, raw.key, raw.data))
        return coded


class Workshop:
    """Starts children that work for one range of a file; `stop` ends waits for them. One thread uses it."""

    def __init__(self, keep: Keep, stop: Event) -> None:
        self._keep, self._stop = keep, stop
        self._open: list[Working] = []

    def pictures(
        self, track: Track, shape: Shape, start: int, limit: int | None, *, hole: int, mark: Overlay | None
    ) -> RecodedApart:
        """Start encoding pictures in a child. SourceError."""
        _check(track)
        commission = Recoding(track, shape, start, limit, hole, mark)
        return RecodedApart(self._begun(commission, _pixels(track, shape)), shape, start, limit)

    def sound(self, track: Track, layout: str, rate: int, channels: int) -> HeardApart:
        """Start decoding sound in a child. SourceError."""
        _check(track)
        return HeardApart(self._begun(Hearing(track, layout, rate), 0), channels)

    def seams(self, track: Track, sample: Sample, *, tail: bool) -> tuple[SeamsApart | None, str]:
        """Start encoding what joins a track, or return why it cannot be. `tail`: it may come after what is copied."""
        if track.codec not in ("h264", "hevc"):
            return None, f"points within a GOP of {track.codec} cannot be joined"
        try:
            _check(track)
            return SeamsApart(self._begun(Joining(track, lean(sample), tail), _pixels(track)), track), ""
        except Stopped:
            raise
        except SourceError as error:
            return None, f"the stream cannot be joined: {error}"

    def can_decode(self, track: Track) -> bool:
        """Return whether there is a decoder that takes a track of sound."""
        try:
            self.sound(track, "stereo", 48_000, 2)
        except Stopped:
            raise
        except SourceError:
            return False
        self._open.pop().close()
        return True

    def close(self) -> None:
        """Release all children."""
        while self._open:
            self._open.pop().close()

    def _begun(self, commission: Commission, pixels: int) -> Working:
        usual = children().bounds
        memory = usual.memory + -(-pixels * A_PIXEL // _STEP) * _STEP
        working = Working(commission, self._keep, Bounds(memory, usual.cpu, works=True), self._stop)
        self._open.append(working)
        return working


def _check(track: Track) -> None:
    """Raise SourceError for a track that no decoder is opened for."""
    try:
        check(track)
    except Undecodable as error:
        raise SourceError(str(error)) from error


def _pixels(track: Track, shape: Shape | None = None) -> int:
    own = track.width * track.height or MOST_PIXELS // 16  # of an unknown size
    return max(own, shape.width * shape.height if shape is not None else 0)
