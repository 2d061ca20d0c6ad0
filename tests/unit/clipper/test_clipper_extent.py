"""How far a segment's samples reach: the pictures shown and the sound heard without a hole."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from services.clipper.extent import reaches
from shared.media.mp4.fragments import FragmentWriter, Sample
from shared.media.mp4.init import aac_config, build_init, video_config
from shared.store.local import LocalStore
from tests.support.recordings import Session

SPS = bytes.fromhex("6764000d22cd941419f9e10000030001000003003c0f142996")
VIDEO = video_config("h264", b"\0\0\0\1" + SPS + b"\0\0\0\1" + bytes.fromhex("68212f8fcb"), 90000)
AUDIO = aac_config(bytes.fromhex("119056e500"))
FRAME, ZERO = 3000, 6000
# Frames are decoded from tick 0 and shown from ZERO on; the last group of three is shown in another order.
WHOLE = [0, 3, 1, 2, 6, 4, 5]


@pytest.mark.parametrize(
    ("shown", "sound", "frame", "there"),
    [
        (WHOLE, 9, 7, True),
        (WHOLE, 9, 8, False),
        (WHOLE[:-1], 9, 7, False),  # a picture that is shown before others is still to come
        (WHOLE[:-1], 9, 5, True),
        (WHOLE, 6, 7, False),  # sound ends before
        (WHOLE, 0, 7, True),  # there is none
    ],
)
def test_what_a_segment_holds(shown: list[int], sound: int, frame: int, *, there: bool, tmp_path: Path) -> None:
    tracks = [VIDEO, AUDIO] if sound else [VIDEO]
    video = [Sample(at * FRAME, ZERO + number * FRAME, FRAME, not at, b"x") for at, number in enumerate(shown)]
    audio = [Sample(at * 1600, at * 1600, 1600, True, b"y") for at in range(sound)]
    store = LocalStore(tmp_path)
    segment = Session("e" * 32).segment(0, zero=ZERO, duration=len(shown) * FRAME)
    store.begin(segment.init_key).write_bytes(build_init(tracks))
    store.commit(segment.init_key)
    store.begin(segment.key).write_bytes(FragmentWriter(tracks).part({1: video, 2: audio}))
    store.commit(segment.key)
    assert reaches(store, segment, Fraction(frame * FRAME, 90000)) is there
    assert not reaches(store, segment.model_copy(update={"key": "live/x/gone.m4s"}), Fraction(0))
