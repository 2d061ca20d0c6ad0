"""Converts coded frames to the form that MPEG-TS carries.

Sources: ISO/IEC 13818-1 (2.14.1, byte stream format with delimiters), ISO/IEC 14496-3 (1.6.2.1 AudioSpecificConfig,
1.A.2.2 ADTS), "Opus in MPEG-2 TS" (opus_control_header), as FFmpeg writes them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from services.restreamer.model import Track, Unit
from services.restreamer.targets.sets import lead_of
from shared.media.bitstream.bit_reader import BitReader
from shared.media.bitstream.params import VideoCodec, record_sets
from shared.media.mp4.boxes import Mp4Error

Framer = Callable[[Unit], bytes]

_START: Final = b"\0\0\0\1"
_DELIMITERS: Final[dict[VideoCodec, bytes]] = {"h264": _START + b"\x09\xf0", "hevc": _START + b"\x46\x01\x50"}
_SBR, _PS, _MOST_ADTS = 5, 29, 4
_ADTS_LONGEST = 0x1FFF - 7


def unfit(track: Track) -> str:
    """Return why SRT (MPEG-TS) cannot carry a track; empty: it can."""
    if track.codec not in ("h264", "hevc", "aac", "mp3", "opus"):
        return f"SRT (MPEG-TS) does not carry {track.codec}"
    try:
        framer(track)
    except (Mp4Error, IndexError):
        return f"the configuration of the {track.codec} track cannot be read"
    except ValueError as error:
        return str(error)
    return ""


def framer(track: Track) -> Framer:
    """Return what writes a unit's payload; ValueError, Mp4Error or IndexError for a track that has none."""
    if track.codec in _DELIMITERS:
        return _annex_b("hevc" if track.codec == "hevc" else "h264", track)
    if track.codec == "aac":
        return _adts(track.config)
    return _opus if track.codec == "opus" else lambda unit: unit.data


def _annex_b(codec: VideoCodec, track: Track) -> Framer:
    """Replace lengths by start codes; put a delimiter first, and parameter sets before a keyframe that has none."""
    delimiter, sets = _DELIMITERS[codec], b"".join(_START + nal for nal in record_sets(codec, track.config))
    lead = lead_of(track)
    if lead is None:
        raise ValueError(f"the {codec} track comes without parameter sets")
    kind = delimiter[4]

    def frame(unit: Unit) -> bytes:
        data = bytearray(unit.data)
        at, end, skip = 0, len(data), 0
        while at + 4 < end:
            size = int.from_bytes(data[at : at + 4], "big")
            data[at : at + 4] = _START
            if not at and data[4] == kind:
                skip = 4 + size  # it has its own delimiter
            at += 4 + size
        body = memoryview(data)[skip:]
        return b"".join((delimiter, sets, body) if unit.key and lead(unit.data)[0] else (delimiter, body))

    return frame


def _adts(config: bytes) -> Framer:
    """Put ADTS headers before raw frames; for HE-AAC the header describes the core, and decoders find the rest."""
    reader = BitReader(config)
    kind, rate = _object_type(reader), reader.bits(4)
    if rate == 15:
        raise ValueError("MPEG-TS does not carry AAC of an unusual sample rate")
    channels = reader.bits(4)
    if kind in (_SBR, _PS):
        if reader.bits(4) == 15:
            reader.bits(24)
        kind = _object_type(reader)
    if not 0 < kind <= _MOST_ADTS or not 0 < channels <= 7:
        raise ValueError(f"MPEG-TS does not carry AAC of object type {kind} with channel layout {channels}")
    # syncword, MPEG-4, layer 0, no CRC | profile, rate, private, channels | copy bits, length, fullness, 1 frame
    fixed = 0xFFF1 << 40 | (kind - 1) << 38 | rate << 34 | channels << 30 | 0x7FF << 2

    def frame(unit: Unit) -> bytes:
        size = min(len(unit.data), _ADTS_LONGEST) + 7
        return (fixed | size << 13).to_bytes(7, "big") + unit.data[: size - 7]

    return frame


def _object_type(reader: BitReader) -> int:
    kind = reader.bits(5)
    return 32 + reader.bits(6) if kind == 31 else kind


def _opus(unit: Unit) -> bytes:
    size = len(unit.data)
    return b"\x7f\xe0" + b"\xff" * (size // 255) + bytes((size % 255,)) + unit.data
