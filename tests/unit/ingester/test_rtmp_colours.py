"""Enhanced RTMP's colorInfo: what becomes of it, and that nothing else does."""

from __future__ import annotations

import math
from typing import Any

import pytest

from services.ingester.rtmp.colour_info import read_colour_info
from services.ingester.rtmp.frames import MediaFrames
from shared.media.bitstream.look import Colour
from shared.media.bitstream.picture_form import PictureForm
from shared.media.bitstream.vp9 import build_vpcc
from shared.media.mp4.hdr import colour_box, colour_of
from shared.rtmp.amf import encode
from shared.rtmp.chunks import VIDEO

PQ = {"bitDepth": 10.0, "colorPrimaries": 9.0, "transferCharacteristics": 16.0, "matrixCoefficients": 9.0}
DISPLAY = {
    "redX": 0.68, "redY": 0.32, "greenX": 0.265, "greenY": 0.69, "blueX": 0.15, "blueY": 0.06,
    "whitePointX": 0.3127, "whitePointY": 0.329, "maxLuminance": 1000.0, "minLuminance": 0.005,
}  # fmt: skip
MDCV = bytes.fromhex("33c286c41d4c0bb884d03e803d1340420098968000000032")
CLL = {"maxCLL": 1000.0, "maxFall": 400.0}
KEY, INTER = bytes.fromhex("924983420009f8059b031c120e0c2900055050661fdf"), b"\x86\x00\x40\x92"


def info(**told: Any) -> bytes:
    return b"".join((encode("colorInfo"), encode(told)))


@pytest.mark.parametrize(
    ("data", "boxes"),
    [
        (
            info(colorConfig=PQ, hdrMdcv=DISPLAY, hdrCll=CLL),
            {b"colr": colour_box(Colour(9, 16, 9, full=False)), b"mdcv": MDCV, b"clli": b"\x03\xe8\x01\x90"},
        ),
        (info(colorConfig={"matrixCoefficients": 9.0}), {b"colr": colour_box(Colour(2, 2, 9, full=False))}),
        (info(colorConfig={}), {}),
        (info(hdrMdcv=DISPLAY | {"redX": math.nan}), {}),
        (info(hdrMdcv=DISPLAY | {"maxLuminance": 1e12}), {}),
        (info(hdrMdcv={"redX": 0.6}), {}),
        (info(hdrCll={"maxCLL": -1.0, "maxFall": "x"}), {}),
        (info(colorConfig=[1.0], hdrMdcv=None, hdrCll=2.0), {}),
        (encode("onMetaData") + encode({"colorConfig": PQ}), {}),
        (encode("colorInfo"), {}),
        (b"", {}),
        (info(colorConfig=PQ)[:-9], {}),
    ],
)
def test_what_is_told_is_read_and_the_rest_left(data: bytes, boxes: dict[bytes, bytes]) -> None:
    assert read_colour_info(data) == boxes


@pytest.mark.parametrize("first", [False, True], ids=["after the header", "before the header"])
def test_it_applies_from_a_key_frame_on_where_pictures_tell_nothing(first: bool) -> None:
    """OBS tells colours before the sequence header, FFmpeg after it."""
    media = MediaFrames(track_wait_ns=0, hold=0, most=100)
    record = build_vpcc(PictureForm(0, 0, 2, 31, depth=10))
    messages = (
        b"\x90vp09" + record, b"\x94vp09" + info(colorConfig=PQ, hdrMdcv=DISPLAY),
        b"\x91vp09" + KEY, b"\xa1vp09" + INTER,
        b"\x94vp09" + info(colorConfig=PQ | {"transferCharacteristics": 18.0}), b"\xa1vp09" + INTER, b"\x91vp09" + KEY,
    )  # fmt: skip
    if first:
        messages = messages[1], messages[0], *messages[2:]
    for number, message in enumerate(messages):
        media.media(VIDEO, number * 33, message, 0)
    media.finish()
    frames = [frame for given in media.take() for frame in given.frames]
    transfers = [colour.transfer for frame in frames if (colour := colour_of(frame.config)) is not None]
    assert transfers == [16, 16, 16, 18]
    assert frames[0].config is frames[2].config
    assert b"mdcv" + MDCV in frames[0].config.sample_entry
