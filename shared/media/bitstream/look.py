"""How pictures look according to their SPS: a pixel's aspect, and the meaning of colours (VUI, E.2.1 in both)."""

from __future__ import annotations

from typing import NamedTuple

from shared.media.bitstream.bit_reader import BitReader
from shared.media.bitstream.errors import BitstreamError
from shared.media.bitstream.h264_sps import parse_h264_sps
from shared.media.bitstream.hevc_sets import parse_hevc_sps
from shared.media.bitstream.params import ASPECTS, VideoCodec
from shared.media.mp4.boxes import Mp4Error

UNSPECIFIED = 2


class Colour(NamedTuple):
    """Code points of ITU-T H.273, and whether samples use the full range."""

    primaries: int
    transfer: int
    matrix: int
    full: bool


class Look(NamedTuple):
    """A pixel's aspect, width to height, and the colours if the SPS has them."""

    aspect: tuple[int, int] = (1, 1)
    colour: Colour | None = None


def read_look(codec: VideoCodec, sps: bytes) -> Look:
    """Read the look from an SPS; a malformed one yields the defaults."""
    try:
        value, count = parse_h264_sps(sps).look if codec == "h264" else parse_hevc_sps(sps).look
        reader = BitReader((value << -count % 8).to_bytes(-(-count // 8), "big"))
        aspect = _aspect(reader)
        if reader.flag():
            reader.flag()  # overscan_appropriate_flag
        return Look(aspect, _colour(reader))
    except (BitstreamError, Mp4Error):
        return Look()


def _aspect(reader: BitReader) -> tuple[int, int]:
    if not reader.flag():
        return (1, 1)
    index = reader.bits(8)
    aspect = (reader.bits(16), reader.bits(16)) if index == 255 else ASPECTS[index % len(ASPECTS)]
    return aspect if all(aspect) else (1, 1)


def _colour(reader: BitReader) -> Colour | None:
    if not reader.flag():
        return None
    reader.bits(3)  # video_format
    full = reader.flag()
    if reader.flag():
        return Colour(reader.bits(8), reader.bits(8), reader.bits(8), full)
    return Colour(UNSPECIFIED, UNSPECIFIED, UNSPECIFIED, full) if full else None
