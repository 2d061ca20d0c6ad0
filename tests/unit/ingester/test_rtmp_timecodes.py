"""Timecodes in RTMP's data messages, and the pictures that they go with."""

from __future__ import annotations

import pytest

from services.ingester.rtmp.frames import MediaFrames
from services.ingester.rtmp.metadata import read_data, timecode_of
from shared.media.timecode import parse_label
from shared.rtmp.amf import EcmaArray, encode
from shared.rtmp.chunks import DATA_AMF0, VIDEO, Message
from shared.rtmp.commands import read_values
from tests.support.rtmp_client import AVC_HEADER, video_frame

# What encoders send, and the timecode in it.
MESSAGES = [
    (encode("onFI", {"sd": "27-11-2026", "st": "13:45:00.000", "tc": "10:00:00:05"}), "10:00:00:05"),
    (encode("@setDataFrame", "onFI", EcmaArray(tc="10:00:00;05")), "10:00:00;05"),
    (encode("onTextData", {"type": "Text", "text": "x", "timecode": "01:02:03:04"}), "01:02:03:04"),
    (encode("onFI", {"timeCode": "1:2:3.4"}), "01:02:03:04"),
    (encode("onFI", {"tc": "", "timecode": "01:02:03:04"}), "01:02:03:04"),
    (encode("onFI", {"sd": "27-11-2026", "st": "13:45:00.000"}), None),
    (encode("onFI", {"tc": "13:45:00.000 PM"}), None),
    (encode("onFI", {"tc": 5.0}), None),
    (encode("onFI", {"tc": "1" * 4000}), None),
    (encode("onFI"), None),
    (encode("onFI", "10:00:00:05"), None),
    (encode("onCuePoint", {"tc": "10:00:00:05"}), None),
    (encode("onMetaData", {"timecode": "10:00:00:05"}), None),
    (b"\x00\x00\x8c\xa0", None),  # FFmpeg copies a tmcd track of an MP4 so (github.com/ossrs/srs/issues/3803)
    (b"", None),
]


@pytest.mark.parametrize(("payload", "told"), MESSAGES)
def test_timecodes_are_read_from_data_messages(payload: bytes, told: str | None) -> None:
    values = read_values(Message(DATA_AMF0, 40, 1, bytearray(payload)), depth=8, values=100, strict=False)
    event = read_data(40, values)
    label = timecode_of(event) if event else None
    assert (label and str(label)) == told


TOP = 1 << 32
# The message's timestamp, the picture's, and how far apart they are in ticks; None: it is dropped.
TIMES = [
    (1000, 1000, 0),
    (960, 1000, -3600),
    (1080, 1000, 7200),
    (TOP - 20, 20, -3600),
    (20, TOP - 20, 3600),
    (0, 60_000, None),
]


@pytest.mark.parametrize(("at", "picture", "ticks"), TIMES)
def test_a_timecode_goes_with_the_next_picture(at: int, picture: int, ticks: int | None) -> None:
    media = MediaFrames(track_wait_ns=0, hold=0, most=10)
    media.media(VIDEO, 0, bytearray(AVC_HEADER), 0)
    label = parse_label("10:00:00:05")
    media.timecode(at, label)
    media.media(VIDEO, picture, bytearray(video_frame(0, key=True)), 0)
    media.media(VIDEO, picture + 40 & TOP - 1, bytearray(video_frame(1)), 0)
    frames = [frame for given in media.take() for frame in given.frames]
    assert [frame.labels for frame in frames] == [() if ticks is None else ((ticks, label),), ()]
