"""Frames of RTMP messages, and the tracks that they belong to."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st

from services.ingester.rtmp.aggregate import split_aggregate
from services.ingester.rtmp.frames import Given, MediaFrames
from services.ingester.rtmp.metadata import read_data, sanitise
from services.ingester.rtmp.tags import read_media, read_multitrack
from shared.rtmp.amf import encode
from shared.rtmp.chunks import AGGREGATE, AUDIO, VIDEO, Message
from shared.rtmp.errors import LimitExceeded, ProtocolError
from shared.rtmp.flv import tag
from tests.support.rtmp_client import AAC_HEADER, AVC_HEADER, audio_frame, number_of, video_frame

SECOND = 1_000_000_000
BOTH = {"videocodecid": 7.0, "audiocodecid": 10.0}
AVC_OTHER = AVC_HEADER[:-1] + b"\x21"
AAC_OTHER = b"\xaf\x00\x12\x10"
VIDEO_ALONE = {"videocodecid": 7.0}


def make(**more: int) -> MediaFrames:
    return MediaFrames(**{"track_wait_ns": SECOND, "hold": 1 << 20, "most": 100, **more})


def numbered(given: Iterable[Given], kind: str = "video") -> list[tuple[int, int]]:
    frames = [frame for each in given for frame in each.frames if frame.config.kind == kind]
    return [(frame.dts // 90, number_of(frame.payload, kind)) for frame in frames]


def ended(made: MediaFrames) -> list[Given]:
    """Finish, and give what was not given yet."""
    made.finish()
    return made.take()


def test_frames_come_with_what_describes_them() -> None:
    made = make()
    made.metadata(BOTH)
    made.media(VIDEO, 0, bytearray(AVC_HEADER), 0)
    made.media(AUDIO, 0, bytearray(AAC_HEADER), 0)
    for number in range(3):
        made.media(VIDEO, number * 40, bytearray(video_frame(number, key=not number)), 0)
        made.media(AUDIO, number * 40, bytearray(audio_frame(number)), 0)
    (given,) = ended(made)
    assert given.contents[:2] == ({"video", "audio"}, set())
    assert numbered([given]) == numbered([given], "audio") == [(0, 0), (40, 1), (80, 2)]
    configs = {id(frame.config): frame.config for frame in given.frames}
    assert [(config.codec, config.width, config.sample_rate) for config in configs.values()] == [
        ("h264", 192, 0),
        ("aac", 0, 48_000),
    ]
    assert [frame.sync for frame in given.frames] == [True, True, False, True, False, True]
    assert given.bytes == sum(len(video_frame(n)) + len(audio_frame(n)) for n in range(3))


def test_metadata_that_names_one_track_starts_at_once() -> None:
    made = make()
    made.metadata(VIDEO_ALONE)
    made.media(VIDEO, 0, bytearray(AVC_HEADER), 0)
    assert made.media(VIDEO, 0, bytearray(video_frame(0)), 0)
    (given,) = made.take()
    assert given.contents.expected == {"video"}


def test_a_first_track_waits_for_the_second_one_and_nothing_is_lost() -> None:
    made = make()
    made.media(AUDIO, 0, bytearray(AAC_HEADER), 0)
    for number in range(3):
        made.media(AUDIO, number * 20, bytearray(audio_frame(number)), 0)
        assert made.take() == []
    made.media(VIDEO, 60, bytearray(AVC_HEADER), 0)
    made.media(VIDEO, 60, bytearray(video_frame(7)), 0)
    (given,) = ended(made)
    assert given.contents.expected == {"video", "audio"}
    assert numbered([given], "audio") == [(0, 0), (20, 1), (40, 2)]
    assert numbered([given]) == [(60, 7)]


def test_what_waits_outlives_the_buffer_that_it_came_in() -> None:
    made = make()
    made.media(AUDIO, 0, bytearray(AAC_HEADER), 0)
    buffer = bytearray(audio_frame(5))
    made.media(AUDIO, 0, memoryview(buffer), 0)
    buffer[:] = bytes(len(buffer))
    assert numbered(ended(made), "audio") == [(0, 5)]


@pytest.mark.parametrize("how", ["time", "bytes", "end"])
def test_a_track_that_stays_alone_is_not_held_for_ever(how: str) -> None:
    made = make(hold=300)
    made.media(AUDIO, 0, bytearray(AAC_HEADER), 0)
    made.media(AUDIO, 0, bytearray(audio_frame(0)), 0)
    if how == "time":
        made.media(AUDIO, 20, bytearray(audio_frame(1)), SECOND)
    elif how == "bytes":
        made.media(AUDIO, 20, bytearray(audio_frame(1, 400)), 0)
    else:
        made.finish()
    (given,) = made.take()
    assert given.contents.expected == {"audio"}
    assert numbered([given], "audio")[0] == (0, 0)


def test_new_parameters_hold_from_the_next_frame_on() -> None:
    made = make()
    made.metadata(BOTH)
    made.media(VIDEO, 0, bytearray(AVC_HEADER), 0)
    made.media(AUDIO, 0, bytearray(AAC_HEADER), 0)
    made.media(VIDEO, 0, bytearray(video_frame(0)), 0)
    made.media(VIDEO, 40, bytearray(AVC_HEADER), 0)  # says nothing new
    made.media(VIDEO, 40, bytearray(video_frame(1)), 0)
    made.media(VIDEO, 80, bytearray(AVC_OTHER), 0)
    made.media(AUDIO, 80, bytearray(AAC_OTHER), 0)  # both change: once, not twice
    made.media(AUDIO, 80, bytearray(audio_frame(2)), 0)
    made.media(VIDEO, 80, bytearray(video_frame(2)), 0)
    first, second = ended(made)
    assert numbered([first]) == [(0, 0), (40, 1)]
    assert numbered([second]) == numbered([second], "audio") == [(80, 2)]
    assert first.frames[0].config is first.frames[1].config
    assert first.frames[0].config != second.frames[1].config
    assert second.frames[0].config.sample_rate == 44_100


def test_parameters_that_no_frame_came_under_change_nothing() -> None:
    made = make()
    made.metadata(VIDEO_ALONE)
    for header in (AVC_HEADER, AVC_OTHER, AVC_HEADER):
        made.media(VIDEO, 0, bytearray(header), 0)
    made.media(VIDEO, 0, bytearray(video_frame(0)), 0)
    for header in (AVC_OTHER, AVC_HEADER):
        made.media(VIDEO, 0, bytearray(header), 0)
    made.media(VIDEO, 40, bytearray(video_frame(1)), 0)
    first, second = [frame for given in ended(made) for frame in given.frames]
    assert first.config is second.config


def test_a_track_that_appears_later_joins() -> None:
    made = make()
    made.metadata(VIDEO_ALONE)
    made.media(VIDEO, 0, bytearray(AVC_HEADER), 0)
    made.media(VIDEO, 0, bytearray(video_frame(0)), 0)
    made.media(AUDIO, 40, bytearray(AAC_HEADER), 0)
    made.media(AUDIO, 40, bytearray(audio_frame(1)), 0)
    first, second = ended(made)
    assert (first.contents.expected, second.contents.expected) == ({"video"}, {"video", "audio"})
    assert numbered([second], "audio") == [(40, 1)]


def test_changes_are_limited() -> None:
    made = make(most=5)
    for number in range(6):
        made.media(VIDEO, number, bytearray(AVC_HEADER + bytes((number,))), 0)
        made.media(VIDEO, number, bytearray(video_frame(number)), 0)
        made.media(AUDIO, number, bytearray(b"\x2fmp3"), 0)
    with pytest.raises(LimitExceeded):
        made.media(VIDEO, 9, bytearray(AVC_HEADER + b"\x09"), 0)


def test_frames_before_their_sequence_header_are_dropped_and_counted() -> None:
    made = make()
    made.metadata(VIDEO_ALONE)
    assert not made.media(VIDEO, 0, bytearray(video_frame(0)), 0)
    made.media(VIDEO, 40, bytearray(AVC_HEADER), 0)
    made.media(VIDEO, 40, bytearray(video_frame(1)), 0)
    assert made.dropped == 1
    assert numbered(ended(made)) == [(40, 1)]


def test_timestamps_above_24_bits_and_at_the_wrap() -> None:
    made = make()
    made.metadata(VIDEO_ALONE)
    made.media(VIDEO, 0xFFFFFFF0, bytearray(AVC_HEADER), 0)
    for number, at in enumerate((0xFFFFFFF0, 0x10, 0x01020304)):
        made.media(VIDEO, at, bytearray(video_frame(number)), 0)
    assert numbered(ended(made)) == [(0xFFFFFFF0, 0), (0x1_0000_0010, 1), (0x1_0102_0304, 2)]


def test_pictures_are_shown_when_their_message_says() -> None:
    made = make()
    made.metadata(VIDEO_ALONE)
    made.media(VIDEO, 0, bytearray(AVC_HEADER), 0)
    for offset in (0, 80, -40):
        frame = bytearray(video_frame(0))
        frame[2:5] = offset.to_bytes(3, "big", signed=True)
        made.media(VIDEO, 0, frame, 0)
        made.media(VIDEO, 0, bytearray(b"\x91avc1" + frame[2:]), 0)
    made.media(VIDEO, 0, bytearray(b"\x93avc1" + video_frame(0)[5:]), 0)
    assert [frame.offset // 90 for frame in ended(made)[0].frames] == [0, 0, 80, 80, -40, -40, 0]


def media(kind: int, raw: bytes) -> tuple[str, str, bytes, int] | None:
    found = read_media(kind, bytearray(raw))
    return found and (found.role, found.codec, bytes(found.data), found.offset)


@pytest.mark.parametrize(
    ("kind", "raw", "expected"),
    [
        (VIDEO, b"\x90hvc1cfg", ("config", "hvc1", b"cfg", 0)),
        (VIDEO, b"\x91hvc1\0\0\0data", ("frame", "hvc1", b"data", 0)),
        (VIDEO, b"\x91hvc1\xff\xff\xd8data", ("frame", "hvc1", b"data", -40)),
        (VIDEO, b"\x93hvc1data", ("frame", "hvc1", b"data", 0)),
        (VIDEO, b"\x91hvc1\0\0\0", None),  # no data
        (VIDEO, b"\x92hvc1", None),  # the end of a sequence
        (VIDEO, b"\x94av01meta", ("extra", "av01", b"meta", 0)),
        (VIDEO, b"\x96\x01hvc1\0", None),  # multitrack
        (VIDEO, b"\xd1\0hvc1x", None),  # a command
        (VIDEO, b"\x97\x02abc\x01av01data", ("frame", "av01", b"data", 0)),  # ModEx
        (VIDEO, b"\x97\xff\x00\x01ab\x07\x00z\x03av01data", ("frame", "av01", b"data", 0)),  # twice
        (VIDEO, b"\x97\xff\xff", None),
        (VIDEO, b"\x17\x00\0\0\0cfg", ("config", "avc1", b"cfg", 0)),
        (VIDEO, b"\x27\x01\0\0\1data", ("frame", "avc1", b"data", 1)),
        (VIDEO, b"\x1c\x00\0\0\0cfg", ("config", "hvc1", b"cfg", 0)),  # codec id 12
        (VIDEO, b"\x2c\x01\0\0\1data", ("frame", "hvc1", b"data", 1)),
        (VIDEO, b"\x57\x00", None),  # a seek mark
        (VIDEO, b"\x17\x02\0\0\0", None),
        (VIDEO, b"\x17\x01\0\0\0", None),
        (VIDEO, b"\x29mpeg", ("frame", "video-9", b"mpeg", 0)),
        (AUDIO, b"\x90Opusheader", ("config", "Opus", b"header", 0)),
        (AUDIO, b"\x91Opusdata", ("frame", "Opus", b"data", 0)),
        (AUDIO, b"\x94Opus\x01\x02", ("extra", "Opus", b"\x01\x02", 0)),
        (AUDIO, b"\x95\x01Opus", None),
        (AUDIO, b"\xaf\x00\x11\x90", ("config", "mp4a", b"\x11\x90", 0)),
        (AUDIO, b"\x2fmp3", ("frame", ".mp3", b"mp3", 0)),
        (AUDIO, b"\xaf\x01", None),
        (AUDIO, b"", None),
    ],
)
def test_what_messages_hold(kind: int, raw: bytes, expected: object) -> None:
    assert media(kind, raw) == expected


@settings(max_examples=300, deadline=None)
@drawn(
    st.lists(
        st.tuples(
            st.sampled_from([AUDIO, VIDEO]),
            st.integers(0, 2**32 - 1),
            st.sampled_from([b"", AVC_HEADER, AAC_HEADER, b"\x90hvc1", b"\x91Opus", b"\x97\x02", b"\x17\x01"]),
            st.binary(max_size=30),
        ),
        max_size=30,
    )
)
def test_whatever_comes_nothing_is_made_up(items: list[tuple[int, int, bytes, bytes]]) -> None:
    made = make()
    kept = 0
    for kind, at, head, rest in items:
        kept += made.media(kind, at, bytearray(head + rest), 0)
    assert sum(len(given.frames) for given in ended(made)) <= kept


def test_metadata_keeps_what_describes_the_stream() -> None:
    hostile = {
        "width": 1920.0, "framerate": float("nan"), "height": float("inf"), "encoder": "Encoder 1.0",
        "videocodecid": "avc1", "keyframes": {"times": [1.0]}, "duration": 5.0, "filesize": 1e9,
        "stereo": True, "audiodatarate": "128", "title": "x",
    }  # fmt: skip
    event = read_data(0, ["@setDataFrame", "onMetaData", hostile])
    assert event is not None
    assert event.name == "onMetaData"
    assert sanitise(event) == {"width": 1920.0, "encoder": "Encoder 1.0", "videocodecid": "avc1", "stereo": True}
    assert sanitise(event._replace(values=(1.0,))) == {}
    assert sanitise(event._replace(values=({"encoder": "a\nb"},))) == {}
    assert read_data(0, [1.0]) is None


def test_aggregates_are_split_and_shifted() -> None:
    body = tag(AUDIO, 1000, b"a1") + tag(VIDEO, 1020, b"v1") + tag(18, 1030, encode("onCuePoint")) + tag(99, 0, b"?")
    found = split_aggregate(Message(AGGREGATE, 0xFFFFFFF6, 1, bytearray(body)))
    assert [(m.kind, m.timestamp, bytes(m.payload[:2])) for m in found] == [
        (AUDIO, 0xFFFFFFF6, b"a1"),
        (VIDEO, 10, b"v1"),
        (18, 20, b"\x02\x00"),
    ]
    for cut in (5, 12):
        with pytest.raises(ProtocolError):
            split_aggregate(Message(AGGREGATE, 0, 1, bytearray(body[:cut])))


ONE, MANY, MIXED = 0x00, 0x10, 0x20
MULTI = b"\x95"


@pytest.mark.parametrize(
    ("payload", "found"),
    [
        (MULTI + bytes((ONE | 1,)) + b"Opus\x03data", [(3, ("frame", "Opus", b"data", 0))]),
        (MULTI + bytes((ONE,)) + b"Opus\x01OpusHead", [(1, ("config", "Opus", b"OpusHead", 0))]),
        (MULTI + bytes((ONE | 4,)) + b"Opus\x01\1\2", [(1, ("extra", "Opus", b"\1\2", 0))]),
        (
            MULTI + bytes((MANY | 1,)) + b"mp4a" + b"\x00\0\0\2ab" + b"\x01\0\0\3cde",
            [(0, ("frame", "mp4a", b"ab", 0)), (1, ("frame", "mp4a", b"cde", 0))],
        ),
        (
            MULTI + bytes((MIXED | 1,)) + b"mp4a\x00\0\0\2ab" + b"ac-3\x02\0\0\1c",
            [(0, ("frame", "mp4a", b"ab", 0)), (2, ("frame", "ac-3", b"c", 0))],
        ),
        (b"\x97\x02\0\0\1\x05" + bytes((ONE | 1,)) + b"Opus\x03data", [(3, ("frame", "Opus", b"data", 0))]),
        (
            MULTI + bytes((MANY | 1,)) + b"mp4a" + b"\x00\0\0\2ab" + b"\x01\0\0\x09cde",
            [(0, ("frame", "mp4a", b"ab", 0))],
        ),
        (MULTI + bytes((ONE | 2,)) + b"Opus\x03x", []),  # the end of a sequence
        (MULTI + bytes((ONE | 1,)) + b"Opus\x03", []),
        (MULTI + bytes((MIXED | 1,)) + b"mp", []),
        (MULTI + bytes((ONE | 1,)), []),
        (MULTI, []),
        (b"\x91Opusdata", []),
        (b"\xaf\x01data", []),
    ],
)
def test_multitrack_messages_are_taken_apart(payload: bytes, found: list[tuple[int, tuple[object, ...]]]) -> None:
    assert [(number, (m.role, m.codec, bytes(m.data), m.offset)) for number, m in read_multitrack(payload)] == found


def test_further_tracks_are_limited_and_named() -> None:
    made = make()
    made.metadata(BOTH)
    made.media(VIDEO, 0, bytearray(AVC_HEADER), 0)
    made.media(AUDIO, 0, bytearray(AAC_HEADER), 0)
    for number in range(1, 7):
        made.media(AUDIO, 0, bytearray(MULTI + bytes((ONE,)) + b"mp4a" + bytes((number,)) + AAC_HEADER[2:]), 0)
    made.media(AUDIO, 0, bytearray(MULTI + bytes((ONE | 1,)) + b"spex\x01data"), 0)
    made.media(VIDEO, 0, bytearray(video_frame(0, key=True)), 0)
    made.media(AUDIO, 0, bytearray(audio_frame(0)), 0)
    for number in range(1, 7):
        made.media(AUDIO, 5, bytearray(MULTI + bytes((ONE | 1,)) + b"mp4a" + bytes((number,)) + b"sound"), 0)
    (given,) = ended(made)
    assert given.contents == ({"video", "audio"}, {"further AAC audio", "further spex audio"}, 3)
    assert sorted({frame.config.track_id for frame in given.frames if frame.config.kind == "audio"}) == [2, 3, 4, 5]
