"""Pixel shape and colours out of real encoders' parameter sets, as a sample entry says them."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

import av
import pytest
from av.codec.context import Flags

from shared.media.bitstream.look import Colour, Look, read_look
from shared.media.bitstream.params import HEVC_SPS, nal_type, split_annexb
from shared.media.mp4.entries import entry_child, video_config

BT709 = "colorprim=bt709:transfer=bt709:colormatrix=bt709"
HDR = "colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc"
CASES = [
    ("", Look()),
    (BT709, Look(colour=Colour(1, 1, 1, full=False))),
    (f"{BT709}:range=full", Look(colour=Colour(1, 1, 1, full=True))),
    ("range=full", Look(colour=Colour(2, 2, 2, full=True))),
    ("overscan=show:videoformat=pal", Look()),
    (f"{HDR}:sar=4\\:3:overscan=show", Look((4, 3), Colour(9, 16, 9, full=False))),
    ("sar=64\\:45", Look((64, 45))),
]


def _extradata(codec: str, options: str) -> bytes:
    context = av.CodecContext.create("libx264" if codec == "h264" else "libx265", "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height, context.pix_fmt = 192, 108, "yuv420p"
    context.framerate, context.time_base = Fraction(25), Fraction(1, 25)
    name = "x264-params" if codec == "h264" else "x265-params"
    context.options = {"preset": "ultrafast", name: options}
    context.flags |= Flags.global_header
    context.open()
    return bytes(context.extradata or b"")


@pytest.mark.parametrize("codec", ["h264", "hevc"])
@pytest.mark.parametrize(("options", "look"), CASES, ids=[options or "none" for options, _ in CASES])
def test_what_the_sps_says_is_in_the_sample_entry(codec: Literal["h264", "hevc"], options: str, look: Look) -> None:
    if codec == "h264":
        options = options.replace("range=full", "fullrange=on")
    data = _extradata(codec, options)
    kind = 7 if codec == "h264" else HEVC_SPS
    sps = next(nal for nal in split_annexb(data) if nal_type(codec, nal) == kind)
    assert read_look(codec, sps) == look
    entry = video_config(codec, data, 90000).sample_entry
    colr, pasp = entry_child(entry, b"colr"), entry_child(entry, b"pasp")
    assert (colr is None, pasp is None) == (look.colour is None, look.aspect == (1, 1))
    if colr is not None and look.colour is not None:
        numbers = b"".join(number.to_bytes(2, "big") for number in look.colour[:3])
        assert entry[colr.body : colr.end] == b"nclx" + numbers + bytes((0x80 * look.colour.full,))


def test_garbage_tells_nothing() -> None:
    for codec in ("h264", "hevc"):
        for data in (b"", b"\x67", b"\x42\x01" + b"\xff" * 9):
            assert read_look(codec, data) == Look()
