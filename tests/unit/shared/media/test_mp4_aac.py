"""AAC's configurations: read, made explicit, and filled with silence that a real decoder hears."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingester.recorder.audio import AdtsSplitter
from shared.media.bitstream.bit_reader import BitReader
from shared.media.mp4.aac import build_aac, frame_program, read_aac, read_program, silence, with_sbr
from shared.media.mp4.boxes import Mp4Error
from shared.media.mp4.entries import aac_config

PROGRAMS = {  # as FFmpeg writes them
    "5.1(side)": (6, "118004c805000108800c4c61766336332e312e31303256e500"),
    "2.1": (3, "118004c4010020000c4c61766336332e312e31303256e500"),
    "quad": (4, "118004c4040021100c4c61766336332e312e31303256e500"),
    "6.1": (7, "118004c80900010884000c4c61766336332e312e31303256e500"),
    "hexagonal": (6, "118004c808000108840c4c61766336332e312e31303256e500"),
    "octagonal": (8, "118004c80c000108c8200c4c61766336332e312e31303256e500"),
}


@pytest.mark.parametrize(
    ("config", "rate", "channels", "frame", "kind", "told"),
    [
        ("1190", 48000, 2, 1024, 2, False),
        ("119056e500", 48000, 2, 1024, 2, True),  # no SBR, it says
        ("1310", 24000, 2, 1024, 2, False),
        ("131056e598", 48000, 2, 2048, 5, True),  # SBR, said behind (backward compatible)
        ("130856e59d4880", 48000, 2, 2048, 29, True),  # PS too
        ("2b118800", 48000, 2, 2048, 5, True),
        ("eb098800", 48000, 2, 2048, 29, True),
        ("11b8", 48000, 8, 1024, 2, False),
        ("11e0", 48000, 8, 1024, 2, False),
        ("11d8", 48000, 7, 1024, 2, False),
        ("1194", 48000, 2, 960, 2, False),
        *((config, 48000, channels, 1024, 2, True) for channels, config in PROGRAMS.values()),
    ],
)
def test_configurations_are_understood(
    config: str, rate: int, channels: int, frame: int, kind: int, told: bool
) -> None:
    meaning = read_aac(bytes.fromhex(config))
    found = (meaning.rate, meaning.channels, meaning.frame, meaning.kind, meaning.told)
    assert found == (rate, channels, frame, kind, told)
    track = aac_config(bytes.fromhex(config))
    assert (track.timescale, track.channels) == (rate, channels)


@pytest.mark.parametrize("config", ["", "11", "1180", "118004", "f800", "1780", "118004c0000000", "17a0"])
def test_configurations_that_make_no_sense_are_damage(config: str) -> None:
    with pytest.raises(Mp4Error):
        read_aac(bytes.fromhex(config))


@given(st.binary(max_size=40))
def test_any_bytes_are_a_configuration_or_damage(data: bytes) -> None:
    for use in (read_aac, aac_config, silence, lambda d: with_sbr(d, ps=True), frame_program):
        try:
            use(data)
        except Mp4Error:
            continue


def test_sbr_is_told_first_of_all() -> None:
    assert with_sbr(bytes.fromhex("1310"), ps=False).hex() == "2b118800"
    assert with_sbr(bytes.fromhex("1308"), ps=True).hex() == "eb098800"
    assert with_sbr(bytes.fromhex("1010"), ps=False).hex() == "1010", "there is no such rate"
    reader = BitReader(bytes.fromhex(PROGRAMS["5.1(side)"][1]))
    reader.bits(16)
    meaning = read_aac(with_sbr(build_aac(2, 6, 0, read_program(reader)), ps=False))
    assert (meaning.rate, meaning.channels, meaning.frame, meaning.kind) == (48000, 6, 2048, 5)


def adts(channels: int, payload: bytes) -> bytes:
    """A frame of 48 kHz with its header."""
    size = len(payload) + 7
    head = 0xFFF1 << 40 | 0x4C << 32 | channels << 30 | size << 13 | 0x1FFC
    return head.to_bytes(7, "big") + payload


def in_frame(config: str, payload: bytes) -> bytes:
    """Put a configuration's program in front of a frame, as an encoder does: aligned from the frame's beginning."""
    reader = BitReader(bytes.fromhex(config))
    reader.bits(16)
    (bits, count), comment, _ = read_program(reader)
    pad = -(count + 3) % 8
    head = (5 << count | bits) << pad
    return head.to_bytes((count + 3 + pad) // 8, "big") + bytes((len(comment),)) + comment + payload


@pytest.mark.parametrize("layout", PROGRAMS)
def test_a_program_in_the_frames_is_told_in_the_configuration(layout: str) -> None:
    channels, config = PROGRAMS[layout]
    payload = silence(bytes.fromhex(config)) or b""
    splitter = AdtsSplitter()
    assert splitter.split(adts(0, payload) + adts(0, payload)) == (0, [])
    assert splitter.untold, "nobody has told the channels yet"
    assert splitter.split(adts(0, in_frame(config, payload)) + adts(0, payload)) == (0, [payload, payload])
    assert not splitter.untold
    assert splitter.config == bytes.fromhex(config.removesuffix("56e500"))
    assert read_aac(splitter.config).channels == channels
    other = PROGRAMS["quad" if layout != "quad" else "2.1"][1]
    splitter.split(adts(0, in_frame(other, payload)))
    assert splitter.config == bytes.fromhex(other.removesuffix("56e500")), "it may change"
    assert splitter.split(adts(2, payload)) == (0, [payload])
    assert splitter.config == bytes.fromhex("1190")
