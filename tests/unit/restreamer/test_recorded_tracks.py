"""Recordings in AV1 and VP9 as restreams play them: their tracks, from the init segment alone."""

from __future__ import annotations

from fractions import Fraction

import pytest

from services.restreamer.sources.recorded.segments import Init
from shared.media.bitstream.look import Colour
from shared.media.bitstream.picture_form import PictureForm
from shared.media.bitstream.vp9 import build_vpcc
from shared.media.mp4.entries import av1_config, codec_record, vp9_config
from shared.media.mp4.init import build_init
from shared.media.tracks import TrackConfig

AV1 = av1_config(bytes.fromhex("81004c000a0e000000043cfecc02f85091009040"), 90_000)
VP9 = vp9_config(build_vpcc(PictureForm(0, 0, colour=Colour(1, 1, 1, full=False))), (640, 360), 90_000)


@pytest.mark.parametrize(
    ("config", "size", "pixels", "colours"),
    [(AV1, (320, 180), "yuv420p10le", (1, 9, 9, 16)), (VP9, (640, 360), "yuv420p", (1, 1, 1, 1))],
)
def test_a_track_is_told_by_its_record(
    config: TrackConfig, size: tuple[int, int], pixels: str, colours: tuple[int, int, int, int]
) -> None:
    track, sound = Init.read(build_init([config])).tracks(Fraction(25))
    assert track is not None
    assert sound is None
    assert (track.codec, track.config, track.rate) == (config.codec, codec_record(config), Fraction(25))
    assert ((track.width, track.height), track.pixels, track.colours) == (size, pixels, colours)
