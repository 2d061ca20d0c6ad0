"""Sound whose frames describe themselves: access units of E-AC-3, and bytes that only look like frames."""

from __future__ import annotations

import random

import pytest

from services.ingester.publication import Frame
from services.ingester.recorder import framed
from services.ingester.recorder.framed import Family, FramedSound
from shared.media.bitstream.ac3 import DEPENDENT, INDEPENDENT, read_ac3
from shared.media.bitstream.bit_writer import BitWriter
from shared.media.bitstream.mpeg_audio import silent_frame
from shared.media.mp4.entries import codec_record

SIXTH, THIRD, HALF, WHOLE = 0, 1, 2, 3
STEP = 1536 * 90 // 48


def eac3(kind: int, substream: int = 0, blocks: int = WHOLE, acmod: int = 2, size: int = 128, mark: int = 0) -> bytes:
    """Build a frame with a valid head; `mark` tells it from others."""
    out = BitWriter()
    fields = [(0x0B77, 16), (kind, 2), (substream, 3), (size // 2 - 1, 11), (0, 2), (blocks, 2), (acmod, 3), (0, 1)]
    fields += [(16, 5), (31, 5), (0, 1)]
    fields += [(1, 1), (0b0001_1010_0000_0000, 16)] if kind == DEPENDENT else []
    for value, count in fields:
        out.bits(value, count)
    head = out.aligned()
    return head + bytes((mark,)) * (size - len(head))


def ac3(mark: int = 0) -> bytes:
    out = BitWriter()
    for value, count in ((0x0B77, 16), (0, 16), (0, 2), (0, 6), (8, 5), (0, 3), (2, 3), (0, 2), (0, 1)):
        out.bits(value, count)
    head = out.aligned()
    return head + bytes((mark,)) * (128 - len(head))


def fed(sound: FramedSound, packets: list[tuple[bytes, int | None]]) -> list[Frame]:
    return [frame for data, stamp in packets for frame in sound.feed(data, stamp)] + sound.finish()


UNITS = {
    "one frame": [eac3(INDEPENDENT)],
    "7.1": [eac3(INDEPENDENT, acmod=7), eac3(DEPENDENT)],
    "thirds": [eac3(INDEPENDENT, blocks=THIRD)] * 3,
    "sixths": [eac3(INDEPENDENT, blocks=SIXTH)] * 6,
    "halves of 7.1": [eac3(INDEPENDENT, blocks=HALF, acmod=7), eac3(DEPENDENT, blocks=HALF)] * 2,
    "two programmes": [eac3(INDEPENDENT), eac3(INDEPENDENT, 1)],
}


@pytest.mark.parametrize("whole", [False, True], ids=["as it flows", "a message each"])
@pytest.mark.parametrize("name", UNITS)
def test_a_sample_is_six_blocks_with_all_substreams(name: str, whole: bool) -> None:
    unit, sound = b"".join(UNITS[name]), FramedSound("ac3")
    got = [f for n in range(4) for f in sound.feed(unit, 9000 + n * STEP, whole=whole)] + sound.finish()
    assert [frame.payload for frame in got] == [unit] * 4
    assert [frame.dts for frame in got] == [9000 + n * STEP for n in range(4)]
    assert {(frame.config.codec, frame.duration, sound.damaged) for frame in got} == {("eac3", 1536, 0)}
    assert len({id(frame.config) for frame in got}) == 1
    record = codec_record(got[0].config)
    programmes = 2 if name == "two programmes" else 1
    assert len(record) == 2 + 3 * programmes + (1 if "7.1" in name else 0)
    assert got[0].config.channels == (7 if "7.1" in name else 2)


def test_of_ac3_with_an_extension_the_ac3_is_kept() -> None:
    """Blu-ray has E-AC-3 of 7.1 as AC-3 with dependent frames of E-AC-3, which decoders of either alone cannot use."""
    packets: list[tuple[bytes, int | None]] = [(ac3(n) + eac3(DEPENDENT), 9000 + n * STEP) for n in range(5)]
    got = fed(FramedSound("ac3"), packets)
    assert [frame.payload for frame in got] == [ac3(n) for n in range(5)]
    assert [frame.dts for frame in got] == [9000 + n * STEP for n in range(5)]
    assert {frame.config.codec for frame in got} == {"ac3"}


def test_one_stamp_for_many_frames_and_none_for_the_next() -> None:
    frames = [ac3(n) for n in range(9)]
    packets = [
        (b"".join(frames[:4]) + frames[4][:50], 9000),
        (frames[4][50:] + frames[5], None),
        (b"".join(frames[6:]), None),
    ]
    got = fed(FramedSound("ac3"), packets)
    assert [frame.payload for frame in got] == frames
    assert [frame.dts for frame in got] == [9000 + n * STEP for n in range(9)]


def test_bytes_between_frames_are_skipped_and_counted_once() -> None:
    frame, sound = silent_frame("mp3", 48_000, 2) or b"", FramedSound("mpeg")
    junk = b"\xff\xfb\x94" * 20 + bytes(100)
    got = fed(sound, [(frame * 3 + junk + frame * 3, 9000)])
    assert [one.payload for one in got] == [frame] * 6
    assert sound.damaged == 1


def test_a_header_in_the_middle_of_data_is_no_frame() -> None:
    """After lost bytes the rest of a frame may hold what looks like a header of another kind."""
    frame, other = silent_frame("mp2", 48_000, 2) or b"", silent_frame("mp3", 32_000, 1) or b""
    sound = FramedSound("mpeg")
    got = sound.feed(frame * 2, 9000)
    sound.lost()
    got += fed(sound, [(bytes(60) + other[:50], None), (frame * 3, 9000 + 5 * 1152 * 90 // 48)])
    assert {one.payload for one in got} == {frame}
    assert {one.config.codec for one in got} == {"mp2"}
    assert [one.dts for one in got[-3:]] == [9000 + n * 1152 * 90 // 48 for n in (5, 6, 7)]


@pytest.mark.parametrize("family", ["mpeg", "ac3"])
def test_garbage_is_hardly_ever_a_frame(family: str) -> None:
    sound, noise = FramedSound("mpeg" if family == "mpeg" else "ac3"), random.Random(7)
    got = [frame for number in range(50) for frame in sound.feed(noise.randbytes(20_000), number * 900)]
    assert len(got) + len(sound.finish()) <= 2


@pytest.mark.parametrize("whole", [False, True], ids=["as it flows", "a message"])
def test_a_unit_that_never_ends_is_no_sound(whole: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames of further programmes count no samples, and may say that they have four bytes."""
    read: list[int] = []
    monkeypatch.setattr(framed, "read_ac3", lambda data, at: read.append(at) or read_ac3(data, at))
    sound, endless = FramedSound("ac3"), bytes.fromhex("0B770001") + bytes.fromhex("0B770801") * 100_000
    packets = [endless] if whole else [endless[at : at + 184] for at in range(0, 40_000, 184)]
    got = [frame for data in packets for frame in sound.feed(data, 9000, whole=whole)] + sound.finish()
    assert all(len(frame.payload) <= framed.MOST_FRAMES * 4 for frame in got)
    assert len(read) < sum(map(len, packets)), "each byte is looked at a few times at the most"


@pytest.mark.parametrize("junk", [b"\xff" * 64, b"\xff\xfb\x94" * 20, b"\x0b\x77\x00\x01" * 16])
@pytest.mark.parametrize("family", ["mpeg", "ac3"])
def test_after_much_that_is_no_sound_a_frame_is_still_found(family: Family, junk: bytes) -> None:
    frame = (silent_frame("mp3", 48_000, 2) or b"") if family == "mpeg" else ac3()
    sound = FramedSound(family)
    for number in range(2 * framed.MOST_JUNK // 50_000):
        sound.feed(junk * (50_000 // len(junk)), number * 900)
    sound.lost()
    assert [one.payload for one in fed(sound, [(frame * 3, 9_000_000)])] == [frame] * 3
