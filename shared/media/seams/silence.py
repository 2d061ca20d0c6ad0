"""Coded silence, for parts of a clip that have pictures but no recorded sound.

Time stamps alone could show such a hole, but in players that count samples the sound would run ahead of the pictures.
"""

from __future__ import annotations

from shared.media.model import TrackConfig
from shared.media.mp4.aac import read_aac, silence
from shared.media.mp4.entries import codec_record

AAC_FRAME = 1024
_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}
# TOC byte by samples of a frame at 48 kHz (RFC 6716, 3.1: CELT, full band, one frame); the rest codes silence.
_OPUS_TOC = {120: 0xE0, 240: 0xE8, 480: 0xF0, 960: 0xF8}
_OPUS_SILENCE = b"\xff\xfe"


def layout_of(channels: int) -> str | None:
    """Return the usual channel layout for a number of channels; None when there is none."""
    return _LAYOUTS.get(channels)


def silent_packet(config: TrackConfig, length: int) -> bytes | None:
    """Return a packet of `length` samples of silence for an audio track; None when that is impossible."""
    if config.codec == "opus":
        toc = _OPUS_TOC.get(length)
        return bytes((toc,)) + _OPUS_SILENCE if toc is not None and config.channels <= 2 else None
    record = codec_record(config)
    return silence(record) if read_aac(record).frame == length else None
