"""Coded silence, for parts of a clip that have pictures but no recorded sound.

Time stamps alone could show such a hole, but in players that count samples the sound would run ahead of the pictures.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache

import av

from shared.media.bitstream.ac3 import ACCESS_UNIT
from shared.media.bitstream.mpeg_audio import read_mpeg_audio, silent_frame
from shared.media.mp4.aac import read_aac, silence
from shared.media.mp4.entries import codec_record
from shared.media.tracks import TrackConfig

AAC_FRAME = 1024
_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}
# TOC byte by samples of a frame at 48 kHz (RFC 6716, 3.1: CELT, full band, one frame); the rest codes silence.
_OPUS_TOC = {120: 0xE0, 240: 0xE8, 480: 0xF0, 960: 0xF8}
_OPUS_SILENCE = b"\xff\xfe"


@lru_cache(maxsize=16)
def _encoded(codec: str, rate: int, channels: int) -> bytes | None:
    """Encode silence; None where FFmpeg's encoders have no such rate or channels."""
    layout = layout_of(channels)
    context = av.CodecContext.create(codec, "w")
    if layout is None or not isinstance(context, av.AudioCodecContext):
        return None
    context.sample_rate, context.layout, context.format, context.time_base = rate, layout, "fltp", Fraction(1, rate)
    frame = av.AudioFrame(format="fltp", layout=layout, samples=ACCESS_UNIT)
    frame.sample_rate = rate
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))
    try:
        packets = [bytes(packet) for given in (frame, None) for packet in context.encode(given)]
    except (ValueError, av.error.FFmpegError):
        return None
    return packets[0] if packets else None


def layout_of(channels: int) -> str | None:
    """Return the usual channel layout for a number of channels; None when there is none."""
    return _LAYOUTS.get(channels)


def silent_packet(config: TrackConfig, length: int) -> bytes | None:
    """Return a packet of `length` samples of silence for an audio track; None when that is impossible."""
    if config.codec == "opus":
        toc = _OPUS_TOC.get(length)
        return bytes((toc,)) + _OPUS_SILENCE if toc is not None and config.channels <= 2 else None
    if config.codec in ("mp2", "mp3"):
        frame = silent_frame(config.codec, config.sample_rate, config.channels)
        found = None if frame is None else read_mpeg_audio(frame)
        return frame if found is not None and found.samples == length else None
    if config.codec in ("ac3", "eac3"):
        return _encoded(config.codec, config.sample_rate, config.channels) if length == ACCESS_UNIT else None
    if config.codec != "aac":
        return None
    record = codec_record(config)
    return silence(record) if read_aac(record).frame == length else None
