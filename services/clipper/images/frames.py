"""Finds the frame of an image in a clip's file: the one on show at a moment, or the best of ten."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from threading import Event
from typing import Final

import av
import av.container
import numpy as np
from av.video.stream import VideoStream

from shared.errors import Rejected
from shared.media.seams.errors import Stopped
from shared.media.transcode.decoder import DECODE_THREADS, MOST_PIXELS

CANDIDATES: Final = 10
# As in clips: a point up to this long (s) before a frame selects it.
TOLERANCE: Final = Fraction(11, 20000)
# A picture whose mean brightness (0 to 255) is below this, or that varies by less, is black or blank.
DARKEST: Final = 24.0
PLAINEST: Final = 6.0
_SCORED_WIDTH: Final = 320


@dataclass(frozen=True, slots=True)
class Found:
    """A frame, the shape of its pixels, its time in the clip (s), and its neighbours, which show what moves."""

    frame: av.VideoFrame
    aspect: Fraction
    at: Fraction
    before: av.VideoFrame | None = None
    after: av.VideoFrame | None = None


def find_frame(path: Path, at: Fraction | None, stop: Event, key: bytes | None = None) -> Found:
    """Return the frame on show at a moment (s; beyond the end: the last one), or with None the best of ten.

    `key` is that of an encrypted clip. Rejected for a clip without pictures.
    """
    options = {"decryption_key": key.hex()} if key else {}
    with av.open(str(path), container_options=options) as container:
        stream = video_of(container)
        if at is not None:
            return _at(container, stream, at, stop)
        length = Fraction(container.duration or 0, av.time_base)
        moments = [length * (2 * n + 1) / (2 * CANDIDATES) for n in range(CANDIDATES)]
        return max((_at(container, stream, moment, stop) for moment in moments), key=lambda found: score(found.frame))


def video_of(container: av.container.InputContainer) -> VideoStream:
    """Return the stream of pictures, its decoder bounded; Rejected without one."""
    if not container.streams.video:
        raise Rejected("there are no pictures")
    stream = container.streams.video[0]
    stream.codec_context.options = {"max_pixels": str(MOST_PIXELS)}
    stream.codec_context.thread_type, stream.codec_context.thread_count = "SLICE", DECODE_THREADS
    return stream


def score(frame: av.VideoFrame) -> float:
    """Return how sharp a picture is: the variance of its Laplacian, at 320 pixels of width; below 0 for a blank one."""
    height = max(frame.height * _SCORED_WIDTH // max(frame.width, 1), 3)
    luma = frame.reformat(width=_SCORED_WIDTH, height=height, format="gray").to_ndarray().astype(np.float32)
    varies = float(luma.std())
    if float(luma.mean()) < DARKEST or varies < PLAINEST:
        return varies / 256 - 1
    inner = luma[1:-1, 1:-1]
    edges = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * inner
    return float(edges.var())


def _at(container: av.container.InputContainer, stream: VideoStream, at: Fraction, stop: Event) -> Found:
    base = stream.time_base or Fraction(1)
    container.seek(max(int(at / base), 0), stream=stream, backward=True)
    return shown_at(container, stream, at, stop)


def shown_at(container: av.container.InputContainer, stream: VideoStream, at: Fraction, stop: Event) -> Found:
    """Decode from where the container stands, and return the frame on show at a moment (s), or else the next one.

    Rejected when nothing can be decoded, Stopped.
    """
    base = stream.time_base or Fraction(1)
    before: av.VideoFrame | None = None
    found: av.VideoFrame | None = None
    after: av.VideoFrame | None = None
    for frame in _frames(container, stream, stop):
        if found is not None and (frame.pts or 0) * base > at + TOLERANCE:
            after = frame
            break
        before, found = found, frame
    if found is None:
        raise Rejected("no picture can be decoded")
    return Found(
        found, stream.sample_aspect_ratio or Fraction(1), max((found.pts or 0) * base, Fraction(0)), before, after
    )


def _frames(container: av.container.InputContainer, stream: VideoStream, stop: Event) -> Iterator[av.VideoFrame]:
    for packet in container.demux(stream):
        if stop.is_set():
            raise Stopped("stopped while an image was looked for")
        try:
            frames = stream.codec_context.decode(packet)
        except MemoryError:
            raise
        except av.error.FFmpegError:
            continue  # later pictures may still be whole
        yield from (frame for frame in frames if frame.pts is not None)
