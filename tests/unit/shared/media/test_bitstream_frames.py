"""AV1's OBUs and VP9's frames: read, put right for MP4, and told apart; bytes of real encoders, and spoilt ones."""

from __future__ import annotations

import random

import pytest

from services.ingester.recorder.coded import Av1Pictures, CodedPictures, Vp9Pictures
from services.ingester.recorder.damage import DAMAGE
from shared.media.bitstream import av1, vp9
from shared.media.bitstream.bit_writer import BitWriter
from shared.media.bitstream.errors import BitstreamError
from shared.media.bitstream.look import Colour
from shared.media.bitstream.picture_form import PictureForm

# Sequence headers of libsvtav1 (10 bit, BT.2020 PQ) and libaom, with their size fields; the record of the first.
SVT = bytes.fromhex("0a0e000000043cfecc02f85091009040")
AOM = bytes.fromhex("0a0b000000043cfeccdaf90040")
AV1C = bytes.fromhex("81004c00") + SVT
DELIMITER, PADDING = b"\x12\x00", b"\x7a\x02\x00\x80"
KEY, INTER, HIDDEN, AGAIN = b"\x32\x03\x10\x00\x01", b"\x32\x03\x30\x00\x02", b"\x32\x03\x20\x00\x03", b"\x1a\x01\xe8"
FORWARD_KEY = b"\x32\x03\x00\x00\x04"  # a key frame that is not shown yet
VP9_KEY = bytes.fromhex("824983420013f00b360438241c1842000d306fb17beaff")
VP9_KEY_10 = bytes.fromhex("924983420009f8059b031c120e0c2900055050661fdf")
VP9_INTER, VP9_HIDDEN, VP9_AGAIN = b"\x86\x00\x40\x92", b"\x84\x00\x40\x92", b"\x88"


@pytest.mark.parametrize(
    ("sequence", "form"),
    [
        (SVT, PictureForm(320, 180, depth=10, colour=Colour(9, 16, 9, full=False))),
        (AOM, PictureForm(320, 180)),
    ],
)
def test_a_sequence_header_tells_the_picture(sequence: bytes, form: PictureForm) -> None:
    found = av1.sequence_of(DELIMITER + sequence)
    assert found is not None
    assert av1.read_sequence(found.body) == form


def _written(*, timed: bool, points: int, profile: int, colour: tuple[tuple[int, int], ...]) -> bytes:
    """Write a sequence header as the AV1 specification, 5.5, says it."""
    out = BitWriter()
    out.bits(profile, 3)
    out.bits(0b00, 2)  # no still picture, no reduced header
    out.flag(value=timed)
    if timed:  # as AMD's encoders do
        for value, count in ((1, 32), (60, 32), (1, 1), (1, 1), (1, 1), (9, 5), (1, 32), (9, 5), (9, 5)):
            out.bits(value, count)  # a tick a picture (uvlc of 0 is one bit), then the decoder model
    out.flag(value=True)  # initial_display_delay_present_flag
    out.bits(points - 1, 5)
    for number in range(points):
        out.bits(0x101 if points > 1 else 0, 12)
        out.bits(13 - number, 5)
        out.flag(value=not number)  # tier, as the level is above 7
        if timed:
            for value, count in ((1, 1), (5, 10), (6, 10), (0, 1)):
                out.bits(value, count)
        out.bits(0b10110, 5)
    for value, count in ((10, 4), (10, 4), (1919, 11), (1081, 11), (1, 1), (0, 7), (0b111, 3)):
        out.bits(value, count)  # sizes, frame ids, superblocks and intra tools
    for value, count in ((0b1111, 4), (1, 1), (0b11, 2), (0, 1), (1, 1), (1, 1), (6, 3), (0b011, 3)):
        out.bits(value, count)  # tools, order hints, screen content forced
    for value, count in colour:
        out.bits(value, count)
    out.flag(value=False)
    return out.payload()


@pytest.mark.parametrize("timed", [False, True])
@pytest.mark.parametrize("points", [1, 2])
@pytest.mark.parametrize(
    ("profile", "colour", "depth", "chroma", "told"),
    [
        (0, ((0, 1), (0, 1), (0, 1), (0, 1), (1, 2), (0, 1)), 8, 1, None),
        (0, ((1, 1), (0, 1), (1, 1), (9, 8), (16, 8), (9, 8), (0, 1), (2, 2), (0, 1)), 10, 1, (9, 16, 9, False)),
        (0, ((0, 1), (1, 1), (0, 1), (1, 1)), 8, 0, (2, 2, 2, True)),
        (1, ((1, 1), (1, 1), (1, 8), (13, 8), (0, 8), (0, 1)), 10, 3, (1, 13, 0, True)),
        (1, ((0, 1), (0, 1), (1, 1), (0, 1)), 8, 3, (2, 2, 2, True)),
        (2, ((1, 1), (1, 1), (0, 1), (0, 1), (0, 1), (1, 1), (0, 1), (0, 1)), 12, 2, None),
        (2, ((1, 1), (0, 1), (0, 1), (0, 1), (0, 1), (0, 1)), 10, 2, None),
    ],
)
def test_sequence_headers_of_every_form(
    timed: bool, points: int, profile: int, colour: tuple[tuple[int, int], ...], depth: int, chroma: int,
    told: tuple[int, int, int, bool] | None,
) -> None:  # fmt: skip
    form = av1.read_sequence(_written(timed=timed, points=points, profile=profile, colour=colour))
    assert (form.width, form.height, form.profile, form.level, form.tier) == (1920, 1082, profile, 13, 1)
    assert (form.depth, form.chroma, form.colour and tuple(form.colour)) == (depth, chroma, told)


def test_an_av1_record_is_made_as_muxers_make_it() -> None:
    sequence = av1.sequence_of(SVT)
    assert sequence is not None
    assert av1.build_av1c(sequence) == AV1C


@pytest.mark.parametrize(
    ("unit", "sample", "key"),
    [
        (DELIMITER + SVT + KEY, SVT + KEY, True),
        (DELIMITER + KEY, SVT + KEY, True),  # the sequence header comes from the record
        (DELIMITER + INTER + PADDING, INTER, False),
        (DELIMITER + b"\x1a\x01\x10" + b"\x22\x02ab", SVT + b"\x1a\x01\x10" + b"\x22\x02ab", True),  # header apart
        (SVT + KEY + b"\x7a\xff\x01" + bytes(255), SVT + KEY, True),  # much padding, no delimiter
        (DELIMITER + AGAIN, AGAIN, False),
        (DELIMITER + HIDDEN + INTER, HIDDEN + INTER, False),
        (DELIMITER + FORWARD_KEY + INTER, FORWARD_KEY + INTER, False),
        (b"\x12\x00" + b"\x30" + KEY[2:], SVT + KEY, True),  # the last one without a size
        (DELIMITER + b"\x36\x08\x03\x10\x00\x01", SVT + b"\x36\x08\x03\x10\x00\x01", True),  # with layers
    ],
)
def test_temporal_units_become_samples(unit: bytes, sample: bytes, key: bool) -> None:
    pictures = Av1Pictures()
    pictures.configure(AV1C)
    found = pictures.take(unit)
    assert found is not None
    assert (found.payload, found.sync, found.clean) == (sample, key, key)
    assert found.config.width == 320


def test_frames_that_are_not_shown_go_with_the_next_one() -> None:
    pictures = CodedPictures()
    pictures.configure("av1", AV1C)
    assert pictures.take(DELIMITER + HIDDEN) is None
    found = pictures.take(DELIMITER + INTER)
    assert found is not None
    assert found.payload == HIDDEN + INTER
    pictures.configure("vp9", vp9.build_vpcc(PictureForm(320, 180)))
    assert pictures.take(VP9_KEY) is not None
    assert pictures.take(VP9_HIDDEN) is None
    joined = pictures.take(VP9_INTER)
    assert joined is not None
    assert vp9.split_superframe(joined.payload) == [VP9_HIDDEN, VP9_INTER]
    assert not joined.sync
    shown = pictures.take(VP9_AGAIN)
    assert shown is not None
    assert (shown.payload, shown.sync) == (VP9_AGAIN, False)


def test_a_key_frame_may_change_what_the_record_said() -> None:
    pictures = Av1Pictures()
    pictures.configure(AV1C)
    first = pictures.take(SVT + KEY)
    assert first is not None
    same = pictures.take(SVT + KEY)
    assert same is not None
    assert same.config is first.config
    other = pictures.take(AOM + KEY)
    assert other is not None
    assert other.config != first.config
    pictures.configure(AV1C)  # repeated: it takes nothing back
    again = pictures.take(AOM + KEY)
    assert again is not None
    assert again.config is other.config


@pytest.mark.parametrize(
    ("frame", "form"), [(VP9_KEY, PictureForm(320, 180)), (VP9_KEY_10, PictureForm(320, 180, 2, depth=10))]
)
def test_a_vp9_key_frame_tells_the_picture(frame: bytes, form: PictureForm) -> None:
    assert vp9.read_key(frame) == form
    assert vp9.is_entry(frame)
    assert not vp9.is_entry(VP9_INTER)
    pictures = Vp9Pictures()
    assert pictures.take(VP9_INTER) is None  # before any key frame
    found = pictures.take(frame)
    assert found is not None
    assert (found.config.width, found.config.height, found.sync) == (320, 180, True)


def test_a_vp9_record_adds_the_colours_that_frames_lack() -> None:
    pictures = Vp9Pictures()
    pictures.configure(vp9.build_vpcc(PictureForm(0, 0, 2, 31, depth=10, colour=Colour(9, 16, 9, full=False))))
    found = pictures.take(VP9_KEY_10)
    assert found is not None
    assert b"nclx\x00\x09\x00\x10\x00\x09\x00" in found.config.sample_entry


@pytest.mark.parametrize("frames", [[b"\x84ab", b"\x86cde"], [b"\x84" * 300, b"\x86"], [b"\x84"] * 7 + [b"\x86"]])
def test_superframes_are_split_as_they_were_joined(frames: list[bytes]) -> None:
    assert vp9.split_superframe(vp9.join_superframe(frames)) == frames


def test_what_is_cut_short_is_damage_and_nothing_else() -> None:
    for data in (b"\x32\x7f\x10", b"\x12", b"\x0a\xff\xff", b"\x80\x00", DELIMITER * 2000 + KEY):
        with pytest.raises(BitstreamError):
            list(av1.split_obus(data))
    chance = random.Random(7)
    for source in (DELIMITER + SVT + HIDDEN + KEY, vp9.join_superframe([VP9_HIDDEN, VP9_KEY]), VP9_KEY):
        for codec in (Av1Pictures(), Vp9Pictures()):
            for _ in range(2000):
                spoilt = bytearray(source[: chance.randint(0, len(source))])
                for _ in range(min(len(spoilt), 3)):
                    spoilt[chance.randrange(len(spoilt))] = chance.randrange(256)
                try:
                    codec.take(bytes(spoilt))
                except DAMAGE:
                    continue
