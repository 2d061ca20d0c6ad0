"""Encoded pictures: a file's frames from in to out point, in the output's shape and rate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import av

from services.restreamer.model import Packet, Track
from services.restreamer.playout.order.programme import TOLERANCE
from services.restreamer.playout.reading.splice import Shot
from shared.media.transcode.colours import Colours
from shared.media.transcode.decoder import PictureDecoder
from shared.media.transcode.deinterlace import Deinterlacer
from shared.media.transcode.graph import PictureGraph
from shared.media.transcode.overlay import Overlay
from shared.media.transcode.picture_encoder import Coded, PictureEncoder, depth_of, pixels_of
from shared.media.transcode.shape import Shape
from shared.media.transcode.slots import Slots


class RecodedVideo:
    """Yields a file's pictures from `start` up to `limit`, encoded; `shift` converts the part's times to the file's.

    A picture that is on screen at `start` is shown if the next one comes more than `hole` after `start`. `done`:
    `limit` was reached. SourceError, CutError, FFmpegError.
    """

    def __init__(
        self, track: Track, shape: Shape, start: int, limit: int | None, *, hole: int, mark: Overlay | None = None
    ) -> None:
        self.start, self.limit = start, limit
        self.shift = 0
        self.done = False
        self._hole = hole
        self._before: av.VideoFrame | None = None
        self._shape = shape
        self._decoder = PictureDecoder(track)
        self._deinterlacer = Deinterlacer()
        self._encoder: PictureEncoder | None = None
        self._graph = PictureGraph(shape, pixels_of(shape), mark, track.turn)
        self._slots: Slots[av.VideoFrame] = Slots(shape.rate)
        self._fresh = True

    @property
    def depth(self) -> int:
        """How many pictures at most are out of order."""
        return depth_of(self._shape)

    def push(self, packet: Packet) -> Iterator[Shot]:
        """Take the next packet in decode order."""
        if not self.done:
            yield from self._frames(self._decoder.push(packet))

    def finish(self) -> Iterator[Shot]:
        """Handle the file's end, or the out point (`done`)."""
        if not self.done:
            yield from self._frames(self._decoder.finish())
            yield from self._shown(self._deinterlacer.finish())
        yield from self._encoded(self._slots.finish(self.limit if self.done else None))
        if self._encoder is not None:
            yield from map(self._shot, self._encoder.finish())

    def _frames(self, frames: Iterator[av.VideoFrame]) -> Iterator[Shot]:
        for frame in frames:
            yield from self._shown(self._deinterlacer.push(frame))
            if self.done:
                return

    def _shown(self, frames: Iterator[av.VideoFrame]) -> Iterator[Shot]:
        for frame in frames:
            at = frame.pts or 0
            if at < self.start - TOLERANCE:
                self._before = frame
                continue
            before, self._before = self._before, None
            if before is not None and at - self.start > self._hole:
                yield from self._encoded(self._slots.push(self.start, before))
            if self.limit is not None and at >= self.limit - TOLERANCE:
                self.done = True
                return
            yield from self._encoded(self._slots.push(at, frame))

    def _encoded(self, slots: Iterator[tuple[int, av.VideoFrame]]) -> Iterator[Shot]:
        for slot, frame in slots:
            fitted = self._graph.fit(frame, self._decoder.aspect)
            if self._encoder is None:
                self._encoder = PictureEncoder(self._shape, self._graph.colours or Colours())
            yield from map(self._shot, self._encoder.push(slot, fitted))

    def _shot(self, picture: Coded) -> Shot:
        pts = self._slots.time(picture.slot)
        shot = Shot(pts, pts - self.shift, 0, picture.key, picture.data)
        if self._fresh and self._encoder is not None:
            self._fresh = False
            return replace(shot, track=self._encoder.track)
        return shot
