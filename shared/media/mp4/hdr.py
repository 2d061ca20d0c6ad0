"""Boxes of a sample entry that describe light and colour: colr, mdcv, clli, from whichever message tells them.

Sources: ISO/IEC 14496-12 (12.1.5 colr, 12.1.6 clli, 12.1.7 mdcv), ITU-T H.265 (D.2.28, D.2.35), AV1 (5.8.3).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import replace

from shared.media.bitstream import av1
from shared.media.bitstream.errors import BitstreamError
from shared.media.bitstream.look import Colour
from shared.media.bitstream.nal import split_sample
from shared.media.bitstream.records import length_size_of, video_codec
from shared.media.bitstream.sei import CONTENT_LIGHT, MASTERING_DISPLAY, TRANSFER, picked
from shared.media.mp4.boxes import box, children, read_header
from shared.media.mp4.entries import VISUAL_BODY
from shared.media.tracks import TrackConfig

MDCV, CLLI, COLR = b"mdcv", b"clli", b"colr"
_TOLD = (MASTERING_DISPLAY, CONTENT_LIGHT, TRANSFER)
_LARGEST_LIGHT = 0xFFFF_FFFF  # of mdcv, in 0.0001 cd/m2; AV1 has room for more
_SIZES = {MDCV: 24, CLLI: 4, COLR: 11}


def scene_boxes(config: TrackConfig, sample: bytes) -> dict[bytes, bytes]:
    """Return the content of mdcv, clli and colr that a key frame tells; empty without, or where it makes no sense.

    A transfer that is preferred to that of the parameter sets counts: HLG told to decoders that do not know it.
    """
    try:
        if config.codec == "av1":
            found = dict(filter(None, map(_of_obu, av1.split_obus(sample))))
        elif config.codec == "vp9":
            found = {}
        else:
            codec = video_codec(config)
            told = dict(picked(codec, split_sample(sample, length_size_of(config)), _TOLD))
            found = {MDCV: told.get(MASTERING_DISPLAY, b""), CLLI: told.get(CONTENT_LIGHT, b"")}
            found[COLR] = _preferred(config, told.get(TRANSFER, b""))
    except BitstreamError:
        return {}
    return {kind: content for kind, content in found.items() if len(content) == _SIZES[kind]}


def _preferred(config: TrackConfig, message: bytes) -> bytes:
    colour = colour_of(config)
    return colour_box(colour._replace(transfer=message[0])) if colour is not None and message else b""


def with_boxes(config: TrackConfig, boxes: Mapping[bytes, bytes], *, instead: bool = True) -> TrackConfig:
    """Return the track with boxes in its sample entry: `instead` of those of their kinds, or where there are none."""
    entry = config.sample_entry
    head = read_header(entry, 0, len(entry))
    start = head.body + VISUAL_BODY
    own = list(children(entry, start, head.end))
    fresh = {kind: content for kind, content in boxes.items() if instead or kind not in {each.kind for each in own}}
    kept = b"".join(entry[each.start : each.end] for each in own if each.kind not in fresh)
    added = b"".join(box(kind, content) for kind, content in fresh.items())
    made = box(head.kind, entry[head.body : start], kept, added)
    return config if made == entry else replace(config, sample_entry=made)


def colour_of(config: TrackConfig) -> Colour | None:
    """Return the colour that a track's sample entry tells; None without one."""
    entry = config.sample_entry
    head = read_header(entry, 0, len(entry))
    for child in children(entry, head.body + VISUAL_BODY, head.end):
        if child.kind == COLR and entry[child.body : child.body + 4] == b"nclx" and child.end - child.body >= 11:
            primaries, transfer, matrix, full = struct.unpack_from(">HHHB", entry, child.body + 4)
            return Colour(primaries, transfer, matrix, bool(full & 0x80))
    return None


def colour_box(colour: Colour) -> bytes:
    """Return the content of colr."""
    return b"nclx" + struct.pack(">HHHB", *colour[:3], colour.full << 7)


def _of_obu(obu: av1.Obu) -> tuple[bytes, bytes] | None:
    if obu.metadata == av1.CONTENT_LIGHT:
        return CLLI, obu.body[1:5]
    if obu.metadata == av1.MASTERING_DISPLAY and len(obu.body) >= 25:
        *points, most, least = struct.unpack_from(">8HII", obu.body, 1)
        # Red, green, blue and white in 0.16 bits, light in 24.8 and 18.14 bits; mdcv begins with green.
        places = [round(point * 50_000 / 65_536) for point in (*points[2:6], *points[:2], *points[6:])]
        light = round(most * 10_000 / 256), round(least * 10_000 / 16_384)
        return (MDCV, struct.pack(">8HII", *places, *light)) if max(light) <= _LARGEST_LIGHT else None
    return None
