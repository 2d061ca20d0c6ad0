"""Sound packets by codec: the number of samples in one, and silent packets.

Sources: ISO/IEC 14496-3 (1.6.2.1), ISO/IEC 11172-3 (2.4.1.3), RFC 6716 (3.1), RFC 7845 (5.1).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from shared.media.bitstream.opus import OpusHead
from shared.media.mp4.aac import AAC_RATES, read_aac
from shared.media.mp4.boxes import Mp4Error
from shared.media.mp4.entries import aac_config, opus_config
from shared.media.seams.silence import silent_packet
from shared.media.transcode.shape import Shape
from shared.media.transcode.streams import FLICKS, Track

_OPUS_SIZES = (480, 960, 1920, 2880) * 3 + (480, 960) * 2 + (120, 240, 480, 960) * 4
_MP3_RATES = (44_100, 48_000, 32_000)
_MP3_KBPS = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
OPUS_DELAY = 312


@dataclass(frozen=True, slots=True)
class Silence:
    """A silent packet, `duration` flicks long."""

    data: bytes
    duration: int


def samples_of(track: Track, data: bytes, duration: int) -> int:
    """Return a packet's number of samples; from `duration` (flicks) if its codec does not say."""
    try:
        if track.codec == "aac":
            return read_aac(track.config).frame
    except Mp4Error:
        return 1024
    if track.codec == "opus" and data:
        count = (1, 2, 2, data[1] & 0x3F if len(data) > 1 else 1)[data[0] & 3]
        return _OPUS_SIZES[data[0] >> 3] * count
    if track.codec == "mp3" and len(data) >= 4:
        return 1152 if data[1] & 0x08 else 576
    return round(duration * track.sample_rate / FLICKS)


def silence_for(track: Track, samples: int) -> Silence | None:
    """Return a silent packet for a decoder of `track`; None when there is none."""
    if not track.sample_rate or samples <= 0:
        return None
    duration = samples * FLICKS // track.sample_rate
    data: bytes | None = None
    try:
        if track.codec == "aac":
            data = silent_packet(aac_config(track.config), samples)
        elif track.codec == "opus":
            data = silent_packet(opus_config(track.config), samples)
        elif track.codec == "mp3":
            data = _silent_mp3(track, samples)
    except Mp4Error:
        return None
    return Silence(data, duration) if data else None


def track_for(shape: Shape) -> Track:
    """Return a shape's sound track for silence alone, without an encoder."""
    config = _aac_config(shape) if shape.audio == "aac" else _opus_head(shape) if shape.audio == "opus" else b""
    return Track("audio", shape.audio, config, sample_rate=shape.sample_rate, channels=shape.channels)


def usual_samples(track: Track) -> int:
    """Return an encoder's usual number of samples per packet."""
    if track.codec == "aac":
        return samples_of(track, b"", 0)
    if track.codec == "opus":
        return 960
    return 1152 if track.sample_rate >= 32_000 else 576


def _aac_config(shape: Shape) -> bytes:
    """Build an AudioSpecificConfig for AAC-LC."""
    if shape.sample_rate in AAC_RATES:
        value = 2 << 11 | AAC_RATES.index(shape.sample_rate) << 7 | shape.channels << 3
        return struct.pack(">H", value)
    return (2 << 35 | 15 << 31 | shape.sample_rate << 7 | shape.channels << 3).to_bytes(5, "big")


def _opus_head(shape: Shape) -> bytes:
    return OpusHead(shape.channels, OPUS_DELAY).write()


def _silent_mp3(track: Track, samples: int) -> bytes | None:
    """Build a frame whose side information is all zeros: no data, no reference to earlier frames."""
    if samples != 1152 or track.sample_rate not in _MP3_RATES or track.channels > 2:
        return None
    index, kbps = _MP3_RATES.index(track.sample_rate), 64
    mode = 3 if track.channels == 1 else 0
    head = bytes((0xFF, 0xFB, _MP3_KBPS.index(kbps) << 4 | index << 2, mode << 6))
    return head + bytes(144 * kbps * 1000 // track.sample_rate - len(head))
