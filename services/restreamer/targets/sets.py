"""Puts parameter sets before keyframes, so that a receiver that keeps only the first configuration decodes all.

Sources: ITU-T H.264 (7.4.1.2.3, order of NAL units), ITU-T H.265 (7.4.2.4.4), AV1 (5.3, OBU syntax).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from services.restreamer.model import Track
from shared.media.bitstream.nal import H264_AUD, H264_IDR, H264_SLICE, HEVC_AUD
from shared.media.bitstream.params import nal_type, record_sets, set_types
from shared.media.mp4.boxes import Mp4Error
from shared.media.tracks import VideoCodec

LENGTH: Final = 4
_FIRST_PICTURE: Final[dict[VideoCodec, range]] = {"h264": range(H264_SLICE, H264_IDR + 1), "hevc": range(32)}
_DELIMITERS: Final[dict[VideoCodec, int]] = {"h264": H264_AUD, "hevc": HEVC_AUD}
_AV1_SEQUENCE, _AV1_RECORD = 1, 4

Lead = Callable[[bytes], tuple[bytes, int]]
"""From a keyframe's data: the bytes to put before it, and how many of its first bytes they replace."""


def lead_of(track: Track) -> Lead | None:
    """Return what puts a track's parameter sets before its keyframes; None where it has none, or broken ones."""
    if track.codec == "av1":
        return _av1(track.config[_AV1_RECORD:])
    if track.codec not in _DELIMITERS:
        return None
    codec: VideoCodec = "hevc" if track.codec == "hevc" else "h264"
    try:
        sets = record_sets(codec, track.config)
    except (Mp4Error, IndexError):
        return None
    return _nals(codec, sets) if sets else None


def _nals(codec: VideoCodec, sets: list[bytes]) -> Lead:
    """Put sets first, but after a delimiter; nothing where the keyframe has all of them."""
    every, wanted = b"".join(len(nal).to_bytes(LENGTH, "big") + nal for nal in sets), set(sets)
    kinds, pictures, delimiter = set_types(codec), _FIRST_PICTURE[codec], _DELIMITERS[codec]

    def lead(data: bytes) -> tuple[bytes, int]:
        at, skip = 0, 0
        missing = set(wanted)
        while at + LENGTH < len(data):
            end = at + LENGTH + int.from_bytes(data[at : at + LENGTH], "big")
            kind = nal_type(codec, data[at + LENGTH : at + LENGTH + 2])
            if kind in pictures:
                break
            if kind in kinds:
                missing.discard(data[at + LENGTH : end])
            elif kind == delimiter and not at:
                skip = end
            at = end
        return (data[:skip] + every, skip) if missing else (b"", 0)

    return lead


def _av1(sequence: bytes) -> Lead | None:
    """Put the sequence header before a keyframe that has none."""
    if not sequence:
        return None

    def lead(data: bytes) -> tuple[bytes, int]:
        at = 0
        while at < len(data):
            kind, extended, sized = data[at] >> 3 & 15, data[at] >> 2 & 1, data[at] >> 1 & 1
            if kind == _AV1_SEQUENCE:
                return b"", 0
            at += 1 + extended
            size, shift = 0, 0
            while sized and at < len(data):
                size |= (data[at] & 0x7F) << shift
                shift, at = shift + 7, at + 1
                if not data[at - 1] & 0x80:
                    break
            if not sized:
                break
            at += size
        return sequence, 0

    return lead
