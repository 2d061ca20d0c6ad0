"""What key frames and messages beside them tell of light and colour, and how often that begins a new description."""

from __future__ import annotations

from dataclasses import replace

from services.ingester.recorder.scenes import MOST, Scenes, Toned
from shared.media.bitstream import av1
from shared.media.bitstream.look import Colour
from shared.media.mp4.entries import av1_config
from shared.media.mp4.hdr import colour_box, colour_of, with_boxes
from shared.media.tracks import TrackConfig

CONFIG = av1_config(bytes.fromhex("81000c000a0b000000043cfeccdaf90040"), 90_000)
PICTURE = b"\x32\x03\x10\x00\x01"


def lit(level: int) -> bytes:
    """Return a key frame with content light levels."""
    return b"\x2a\x06\x01" + level.to_bytes(2, "big") + b"\x00\x64\x80" + PICTURE


def levels(config: TrackConfig) -> int | None:
    at = config.sample_entry.find(b"clli")
    return int.from_bytes(config.sample_entry[at + 4 : at + 6], "big") if at >= 0 else None


def test_light_is_told_once_a_track() -> None:
    scenes = Scenes()
    first = scenes.described(CONFIG, PICTURE, key=True)
    assert first == CONFIG
    told = scenes.described(CONFIG, lit(1000), key=True)
    assert levels(told) == 1000
    for sample, key in ((PICTURE, False), (lit(400), True), (PICTURE, True), (lit(1000), True)):
        assert scenes.described(CONFIG, sample, key=key) is told
    other = replace(CONFIG, width=64)
    assert levels(scenes.described(other, PICTURE, key=True)) == 1000  # told once for all
    assert levels(scenes.described(replace(CONFIG, width=32), lit(400), key=True)) == 400


def test_a_spoilt_key_frame_tells_nothing() -> None:
    assert Scenes().described(CONFIG, b"\x2a\x7f\x01", key=True) == CONFIG
    assert [obu.metadata for obu in av1.split_obus(lit(5))] == [av1.CONTENT_LIGHT, None]


def test_colours_beside_the_pictures_may_change_so_often() -> None:
    toned, seen = Toned(), []
    for number in range(2 * MOST):
        told = {b"colr": colour_box(Colour(9, number % 250 + 1, 9, full=False))}
        assert toned.of(CONFIG, told, key=False) is toned.of(CONFIG, told, key=False)
        seen.append(toned.of(CONFIG, told, key=True))
    assert len({id(config) for config in seen}) == MOST
    colour = colour_of(seen[-1])
    assert colour is not None
    assert colour.transfer == MOST


def test_light_that_no_box_can_hold_tells_nothing() -> None:
    blinding = b"\x2a\x1a\x02" + bytes(16) + b"\xff" * 4 + bytes(4) + b"\x80" + PICTURE
    assert Scenes().described(CONFIG, blinding, key=True) == CONFIG


def test_what_was_told_of_other_colours_does_not_stick() -> None:
    """A switcher goes from HLG, or HDR10, to a source in SDR on one connection."""
    scenes = Scenes()
    bright = with_boxes(CONFIG, {b"colr": colour_box(Colour(9, 16, 9, full=False))})
    assert levels(scenes.described(bright, lit(1000), key=True)) == 1000
    plain = with_boxes(replace(CONFIG, width=64), {b"colr": colour_box(Colour(1, 1, 1, full=False))})
    assert scenes.described(plain, PICTURE, key=True) == plain
