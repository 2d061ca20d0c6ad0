"""What children say is read as what strangers say: all of it comes through, or it is nonsense, and nothing else."""

from __future__ import annotations

import random
from dataclasses import replace
from fractions import Fraction

import pytest

from services.restreamer.model import FLICKS, Track
from services.restreamer.sources.apart import wire
from services.restreamer.sources.apart.nonsense import FARTHEST, Nonsense
from services.restreamer.sources.apart.track_wire import LONGEST_CONFIG
from services.restreamer.sources.apart.wire import Batch, Message, Said, Told
from services.restreamer.sources.frames import Raw

VIDEO = Track(
    "video", "h264", b"\1\2\3", 1920, 1080, "yuv420p", Fraction(30000, 1001), aspect=Fraction(4, 3),
    own_aspect=Fraction(1), turn="90", colours=(1, 9, 9, 16), tag="avc1", bits=24,
)  # fmt: skip
AUDIO = Track("audio", "pcm_s16le", b"", sample_rate=48000, channels=6, tag="sowt", layout="5.1(side)")
FRAMES = [
    Raw("video", -FLICKS, 0, FLICKS // 25, True, b"picture", VIDEO),
    Raw("audio", None, 5, 0, True, b"", AUDIO),
    Raw("video", 1, 1 << 60, 7, False, bytes(3000), None),
]
TOLD = Told(True, False, 7 * FLICKS, None, 0, 1_700_000_000_000)


def said(*frames: Raw, told: Told = TOLD, kind: Said = Said.READ, data: bytes = b"") -> bytes:
    batch = Batch()
    for frame in frames:
        batch.add(frame)
    return b"".join(wire.pack(kind, told, batch, flags=3, number=-9, data=data))


def heard(message: bytes) -> Message:
    if len(message) < wire.HEAD.size or len(message) != wire.HEAD.size + wire.body_size(message):
        raise Nonsense
    return wire.unpack(memoryview(message))


def test_all_comes_through() -> None:
    found = heard(said(*FRAMES))
    assert found == Message(Said.READ, 3, -9, FRAMES, b"", TOLD)
    assert heard(said(kind=Said.DONE, data=b"abc")).data == b"abc"
    failed = heard(said(*FRAMES, kind=Said.FAILED, data="zu groß\x1b[1m".encode() + b"\xff" + b"x" * 1000))
    assert failed.frames == FRAMES
    assert failed.text.startswith("zu groß[1m\ufffdxx")
    assert len(failed.text) == wire.LONGEST_TEXT


@pytest.mark.parametrize(
    "frame",
    [
        replace(FRAMES[0], pts=1 << 63),
        replace(FRAMES[0], track=replace(VIDEO, rate=Fraction(1 << 64))),
        replace(FRAMES[0], track=replace(VIDEO, config=bytes(LONGEST_CONFIG + 1))),
    ],
)
def test_what_cannot_be_said_is_an_error_of_the_file(frame: Raw) -> None:
    with pytest.raises(Nonsense):
        said(frame)


@pytest.mark.parametrize(
    "track",
    [
        replace(VIDEO, codec=""), replace(VIDEO, codec="a\n"), replace(VIDEO, width=1 << 17), replace(VIDEO, tag="\0"),
        replace(VIDEO, turn="45"), replace(VIDEO, aspect=Fraction(0)), replace(VIDEO, layout="x" * 1001), AUDIO,
        replace(VIDEO, colours=(-1, 2, 2, 2)),
    ],
)  # fmt: skip
def test_a_track_that_cannot_be_is_nonsense(track: Track) -> None:
    message = said(replace(FRAMES[0], track=track))
    with pytest.raises(Nonsense):
        heard(message)


@pytest.mark.parametrize(
    "track",
    [
        replace(AUDIO, codec="aac", config=b"\x11\x90", sample_rate=0xFFFFFFFF),
        replace(AUDIO, codec="aac", config=b"\x17\x90"), replace(AUDIO, codec="aac", config=b""),
        replace(AUDIO, codec="mp3"), replace(AUDIO, codec="opus"), AUDIO,
    ],
)  # fmt: skip
def test_sound_of_more_samples_than_can_be_is_nonsense(track: Track) -> None:
    """Silence between packets is made of packets that are as long: of some there would be no end."""
    heard(said(replace(FRAMES[1], track=AUDIO)))
    heard(said(replace(FRAMES[1], track=replace(AUDIO, codec="aac", config=b"\x11\x90"))))
    message = said(replace(FRAMES[1], track=replace(track, sample_rate=max(track.sample_rate, 5_000_000))))
    with pytest.raises(Nonsense):
        heard(message)


@pytest.mark.parametrize("at", [FARTHEST + 1, -FARTHEST - 1, (1 << 63) - 1])
def test_times_that_no_sum_can_hold_are_nonsense(at: int) -> None:
    for flags, *times in ((4, at, 0, 0), (0, 0, at, 0), (0, 0, 0, at)):
        row = wire._ROW.pack(flags, *times, 0)
        with pytest.raises(Nonsense):
            heard(wire.HEAD.pack(Said.GIVEN, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0) + row)
    with pytest.raises(Nonsense):
        heard(wire.HEAD.pack(Said.DONE, 0, 0, 0, 0, 0, 4, at, 0, 0, 0))
    with pytest.raises(Nonsense):
        said(replace(FRAMES[0], pts=at))
    assert heard(said(told=replace(TOLD, end=at, created_ms=1 << 70))).told == replace(TOLD, end=None, created_ms=None)


def test_a_message_that_is_changed_anywhere_is_read_or_nonsense() -> None:
    whole, chance = said(*FRAMES), random.Random(7)
    for _ in range(20_000):
        message = bytearray(whole[: chance.choice((len(whole), len(whole), chance.randrange(len(whole))))])
        for _ in range(chance.randrange(1, 4)):
            if message:
                message[chance.randrange(min(len(message), 400))] = chance.choice(
                    (0, 1, 0x7F, 0xFF, chance.randrange(256))
                )
        try:
            found = heard(bytes(message))
        except Nonsense:
            continue
        assert len(found.frames) <= wire.MOST_FRAMES
        assert sum(len(frame.data) for frame in found.frames) + len(found.data) <= len(message)


def test_a_message_that_announces_too_much_is_nonsense() -> None:
    head = wire.HEAD.pack(Said.READ, 0, 0, 0, 0, 0xFFFFFFFF, 0, 0, 0, 0, 0)
    with pytest.raises(Nonsense):
        wire.body_size(head)
    head = wire.HEAD.pack(Said.READ, 0, 0, wire.MOST_FRAMES + 1, 0, 0, 0, 0, 0, 0, 0)
    with pytest.raises(Nonsense):
        wire.body_size(head)
