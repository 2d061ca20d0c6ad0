"""Uses once all that children need, which loads it before the fork: children cannot open files."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Final

import numpy as np

from services.restreamer.model import FLICKS, Packet, Track
from services.restreamer.playout.pictures.recoded import RecodedVideo
from services.restreamer.playout.reading.splice import Shot
from services.restreamer.playout.sound.queue import SoundQueue
from shared.media.transcode.decoder import PictureDecoder, SoundDecoder
from shared.media.transcode.errors import Undecodable
from shared.media.transcode.overlay import Overlay
from shared.media.transcode.resampled import Resampled
from shared.media.transcode.shape import AUDIO_ENCODERS, VIDEO_ENCODERS, Shape
from shared.media.transcode.sound_run import SoundRun

_SIDE: Final = 64
_RATE: Final = Fraction(25)
_TURNED: Final = "90"


def warm() -> None:
    """Decode and encode a little of each kind: generated pictures, and silence."""
    frame = bytes(_SIDE * _SIDE * 3)
    plain = Track("video", "rawvideo", b"", _SIDE, _SIDE, "rgb24", _RATE, turn=_TURNED)
    mark = Overlay(np.zeros((2, 2, 4), np.uint8))
    for codec in VIDEO_ENCODERS:
        shape = Shape(codec, _SIDE, _SIDE, "yuv420p", _RATE)
        shots = list(_recoded(plain, frame, shape, mark))
        track = next(shot.track for shot in shots if shot.track is not None)
        decoder = PictureDecoder(track)
        for shot in shots:
            list(decoder.push(Packet("video", shot.pts, shot.pts, 0, shot.key, shot.data)))
    for codec in AUDIO_ENCODERS:
        lane = SoundQueue(0)
        run = SoundRun(Shape("h264", _SIDE, _SIDE, "yuv420p", _RATE, codec), 0, lane.append)
        run.pad(9600)
        run.finish()
        sound = Resampled(SoundDecoder(run.track), "mono", 44_100)
        for unit in lane.units:
            sound.push(Packet("audio", unit.dts, unit.pts, unit.duration, key=True, data=unit.data))
        sound.finish()
    for codec in ("av1", "vorbis", "ac3", "mpeg2video"):
        try:
            PictureDecoder(Track("video", codec, b"", _SIDE, _SIDE))
        except Undecodable:
            continue


def _recoded(track: Track, frame: bytes, shape: Shape, mark: Overlay) -> Iterator[Shot]:
    video = RecodedVideo(track, shape, 0, None, hole=FLICKS, mark=mark)
    for number in range(6):
        at = number * FLICKS // 25
        yield from video.push(Packet("video", at, at, FLICKS // 25, key=True, data=frame))
    yield from video.finish()
