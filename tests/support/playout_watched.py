"""What a player gets of a playout: units, their times checked, decoded by PyAV."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import av
import numpy as np
import numpy.typing as npt

from services.restreamer.model import FLICKS, Track, Unit
from tests.support.framecode import AUDIO_RATE, HEIGHT, WIDTH, Sound


def check_units(units: Sequence[Unit]) -> None:
    assert units
    assert [unit.dts for unit in units] == sorted(unit.dts for unit in units)
    pictures = [unit for unit in units if unit.kind == "video"]
    sounds = [unit for unit in units if unit.kind == "audio"]
    assert all(before.dts < after.dts for before, after in pairwise(pictures))
    assert all(0 <= unit.dts <= unit.pts for unit in units)
    assert len({unit.pts for unit in pictures}) == len(pictures)
    assert pictures[0].key
    assert pictures[0].track
    assert sounds[0].track
    assert all(unit.key for unit in pictures if unit.track)
    assert pictures[0].pts == pictures[0].dts + FLICKS * 160 // 1000
    for before, after in pairwise(sounds):
        assert after.pts == before.pts + before.duration
    end = max(unit.pts + unit.duration for unit in pictures)
    assert abs(sounds[-1].pts + sounds[-1].duration - end) <= 2 * sounds[-1].duration
    shown = -1
    waiting = sorted(unit.pts for unit in pictures)
    for index, unit in enumerate(pictures):
        shown = max(shown, unit.pts)
        assert unit.clean == (shown == waiting[index])


def steps(units: Sequence[Unit]) -> set[int]:
    """Return the distances between presentation times."""
    times = sorted(unit.pts for unit in units)
    return {after - before for before, after in pairwise(times)}


def frames(units: Sequence[Unit]) -> list[tuple[int, npt.NDArray[np.uint8]]]:
    """Decode pictures like a player that makes a new decoder for each new configuration: (time, grey levels)."""
    found: list[tuple[int, npt.NDArray[np.uint8]]] = []
    decoder: av.VideoCodecContext | None = None
    known: Track | None = None
    for unit in units:
        if unit.track is not None and unit.track != known:
            if decoder is not None:
                found += _shown(decoder.decode(None))
            decoder, known = _decoder(unit.track), unit.track
        assert decoder is not None
        packet = av.Packet(unit.data)
        packet.pts, packet.dts = unit.pts, unit.dts
        found += _shown(decoder.decode(packet))
    if decoder is not None:
        found += _shown(decoder.decode(None))
    assert [at for at, _ in found] == sorted(unit.pts for unit in units)
    return found


def _decoder(track: Track) -> av.VideoCodecContext:
    decoder = av.CodecContext.create(track.codec, "r")
    assert isinstance(decoder, av.VideoCodecContext)
    if track.config:
        decoder.extradata = track.config
    decoder.options = {"err_detect": "explode"}
    return decoder


def _shown(shown: Sequence[av.VideoFrame]) -> list[tuple[int, npt.NDArray[np.uint8]]]:
    out = []
    for frame in shown:
        assert not frame.is_corrupt
        assert frame.pts is not None
        small = (
            frame.reformat(WIDTH, HEIGHT, "gray", interpolation="AREA")
            if frame.width != WIDTH
            else frame.reformat(format="gray")
        )
        out.append((frame.pts, small.to_ndarray()))
    return out


def sound_of(units: Sequence[Unit]) -> tuple[int, Sound]:
    """Decode all sound; return the output time of its first sample, and mono samples at 48 kHz."""
    decoder: av.AudioCodecContext | None = None
    known: Track | None = None
    parts: list[npt.NDArray[np.int16]] = []
    for unit in units:
        if unit.track is not None and unit.track != known:
            context = av.CodecContext.create(unit.track.codec, "r")
            assert isinstance(context, av.AudioCodecContext)
            if unit.track.config:
                context.extradata = unit.track.config
            context.sample_rate = unit.track.sample_rate
            decoder, known = context, unit.track
            resampler = av.AudioResampler("s16", "mono", AUDIO_RATE)
        assert decoder is not None
        samples = [
            part.to_ndarray()[0] for frame in decoder.decode(av.Packet(unit.data)) for part in _mono(resampler, frame)
        ]
        if not parts:  # samples that a decoder omits at its start
            missing = unit.duration * AUDIO_RATE // FLICKS - sum(map(len, samples))
            parts.append(np.zeros(max(missing, 0), np.int16))
        parts += samples
    return units[0].pts, np.concatenate(parts)


def _mono(resampler: av.AudioResampler, frame: av.AudioFrame) -> list[av.AudioFrame]:
    frame.pts = None
    return resampler.resample(frame)
