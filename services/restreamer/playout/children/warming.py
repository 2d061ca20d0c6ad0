"""All that children need, used once, which loads it before they are forked: they can open no file any more."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Final

import av
import numpy as np

from services.restreamer.model import FLICKS, Packet, SourceError, Track
from services.restreamer.playout.children.decoding import PictureDecoder, SoundDecoder
from services.restreamer.playout.pictures.graph import Mark
from services.restreamer.playout.pictures.recoded import RecodedVideo
from services.restreamer.playout.reading.shape import AUDIO_ENCODERS, VIDEO_ENCODERS, Shape
from services.restreamer.playout.reading.splice import Shot
from services.restreamer.playout.sound.encoder import SoundRun
from services.restreamer.playout.sound.lane import Lane
from services.restreamer.playout.sound.resampled import Resampled
from shared.messages.restreams import Source, Watermark

_SIDE: Final = 64
_RATE: Final = Fraction(25)
_TURNED: Final = "90"


def warm() -> None:
    """Decode and encode a little of each kind: pictures of ours, and silence."""
    frame = bytes(_SIDE * _SIDE * 3)
    plain = Track("video", "rawvideo", b"", _SIDE, _SIDE, "rgb24", _RATE, turn=_TURNED)
    picture = av.VideoFrame.from_ndarray(np.zeros((2, 2, 4), np.uint8), format="rgba")
    mark = Mark(Watermark(source=Source(kind="library", place="", shown="")), picture)
    for codec in VIDEO_ENCODERS:
        shape = Shape(codec, _SIDE, _SIDE, "yuv420p", _RATE)
        shots = list(_recoded(plain, frame, shape, mark))
        track = next(shot.track for shot in shots if shot.track is not None)
        decoder = PictureDecoder(track)
        for shot in shots:
            list(decoder.push(Packet("video", shot.pts, shot.pts, 0, shot.key, shot.data)))
    for codec in AUDIO_ENCODERS:
        lane = Lane(0)
        run = SoundRun(Shape("h264", _SIDE, _SIDE, "yuv420p", _RATE, codec), lane)
        run.pad(9600)
        run.finish()
        sound = Resampled(SoundDecoder(run.track), "mono", 44_100)
        for unit in lane.units:
            sound.push(Packet("audio", unit.dts, unit.pts, unit.duration, key=True, data=unit.data))
        sound.finish()
    for codec in ("av1", "vorbis", "ac3", "mpeg2video"):
        try:
            PictureDecoder(Track("video", codec, b"", _SIDE, _SIDE))
        except (SourceError, AssertionError):
            continue


def _recoded(track: Track, frame: bytes, shape: Shape, mark: Mark) -> Iterator[Shot]:
    video = RecodedVideo(track, shape, 0, None, hole=FLICKS, mark=mark)
    for number in range(6):
        at = number * FLICKS // 25
        yield from video.push(Packet("video", at, at, FLICKS // 25, key=True, data=frame))
    yield from video.finish()
