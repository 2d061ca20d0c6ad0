"""Runs: FLV streams whose tracks and codec parameters never change within one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingester.rtmp.aggregate import split_aggregate
from services.ingester.rtmp.flv import tag
from services.ingester.rtmp.metadata import read_data, sanitise
from services.ingester.rtmp.runs import FlvRuns
from services.ingester.rtmp.tags import read_media
from shared.rtmp.amf import encode
from shared.rtmp.chunks import AGGREGATE, AUDIO, VIDEO, Message
from shared.rtmp.errors import LimitExceeded, ProtocolError
from tests.support.rtmp_client import AAC_HEADER, AVC_HEADER, audio_frame, frames_of, read_flv, video_frame

SECOND = 1_000_000_000
BOTH = {"videocodecid": 7.0, "audiocodecid": 10.0}
AVC_OTHER = AVC_HEADER[:-1] + b"\x21"


def make(**more: int) -> FlvRuns:
    return FlvRuns(**{"track_wait_ns": SECOND, "hold": 1 << 20, "most": 100, **more})


def drain(runs: FlvRuns) -> list[bytes]:
    """Finish, and give the FLV bytes of every run."""
    runs.seal()
    runs.finish()
    found = []
    while True:
        data = runs.take()
        if data:
            found.append(data)
        if not runs.over:
            return found
        runs.advance()


def headers(data: bytes) -> list[bytes]:
    return [body for kind, _, body in read_flv(data) if kind in (AUDIO, VIDEO) and body[1] == 0]


def test_a_run_names_its_tracks_then_headers_then_frames() -> None:
    runs = make()
    runs.metadata(BOTH)
    runs.media(VIDEO, 0, bytearray(AVC_HEADER), 0)
    runs.media(AUDIO, 0, bytearray(AAC_HEADER), 0)
    for number in range(3):
        runs.media(VIDEO, number * 40, bytearray(video_frame(number)), 0)
        runs.media(AUDIO, number * 40, bytearray(audio_frame(number)), 0)
    (data,) = drain(runs)
    assert data[4] == 5
    assert [kind for kind, _, _ in read_flv(data)] == [18, VIDEO, AUDIO, VIDEO, AUDIO, VIDEO, AUDIO, VIDEO, AUDIO]
    assert frames_of(data) == frames_of(data, AUDIO) == [(0, 0), (40, 1), (80, 2)]


def test_metadata_that_names_one_track_starts_at_once() -> None:
    runs = make()
    runs.metadata({"videocodecid": 7.0})
    runs.media(VIDEO, 0, bytearray(AVC_HEADER), 0)
    assert runs.media(VIDEO, 0, bytearray(video_frame(0)), 0)
    runs.seal()
    assert runs.take()[4] == 1


def test_a_first_track_waits_for_the_second_one_and_nothing_is_lost() -> None:
    runs = make()
    runs.media(AUDIO, 0, bytearray(AAC_HEADER), 0)
    for number in range(3):
        runs.media(AUDIO, number * 20, bytearray(audio_frame(number)), 0)
        runs.seal()
    assert not runs.take()
    runs.media(VIDEO, 60, bytearray(AVC_HEADER), 0)
    runs.media(VIDEO, 60, bytearray(video_frame(7)), 0)
    (data,) = drain(runs)
    assert data[4] == 5
    assert frames_of(data, AUDIO) == [(0, 0), (20, 1), (40, 2)]
    assert frames_of(data) == [(60, 7)]


@pytest.mark.parametrize("how", ["time", "bytes", "end"])
def test_a_track_that_stays_alone_is_not_held_for_ever(how: str) -> None:
    runs = make(hold=300)
    runs.media(AUDIO, 0, bytearray(AAC_HEADER), 0)
    runs.media(AUDIO, 0, bytearray(audio_frame(0)), 0)
    if how == "time":
        runs.media(AUDIO, 20, bytearray(audio_frame(1)), SECOND)
    elif how == "bytes":
        runs.media(AUDIO, 20, bytearray(audio_frame(1, 400)), 0)
    else:
        runs.finish()
    assert runs.started
    (data,) = drain(runs)
    assert data[4] == 4
    assert frames_of(data, AUDIO)[0] == (0, 0)


def test_new_parameters_begin_a_run_with_all_headers() -> None:
    runs = make()
    runs.metadata(BOTH)
    runs.media(VIDEO, 0, bytearray(AVC_HEADER), 0)
    runs.media(AUDIO, 0, bytearray(AAC_HEADER), 0)
    runs.media(VIDEO, 0, bytearray(video_frame(0)), 0)
    runs.media(VIDEO, 40, bytearray(AVC_HEADER), 0)  # says nothing new
    runs.media(VIDEO, 40, bytearray(video_frame(1)), 0)
    runs.media(VIDEO, 80, bytearray(AVC_OTHER), 0)
    runs.media(AUDIO, 80, bytearray(b"\xaf\x00\x12\x10"), 0)  # both change: one run, not two
    runs.media(VIDEO, 80, bytearray(video_frame(2)), 0)
    first, second = drain(runs)
    assert frames_of(first) == [(0, 0), (40, 1)]
    assert headers(first) == [AVC_HEADER, AAC_HEADER]
    assert frames_of(second) == [(80, 2)]
    assert headers(second) == [AVC_OTHER, b"\xaf\x00\x12\x10"]
    assert read_flv(second)[0][:2] == (18, 0)  # at another time FFmpeg takes it for a subtitle


def test_a_track_that_appears_later_begins_a_run() -> None:
    runs = make()
    runs.metadata({"videocodecid": 7.0})
    runs.media(VIDEO, 0, bytearray(AVC_HEADER), 0)
    runs.media(VIDEO, 0, bytearray(video_frame(0)), 0)
    runs.media(AUDIO, 40, bytearray(AAC_HEADER), 0)
    runs.media(AUDIO, 40, bytearray(audio_frame(1)), 0)
    first, second = drain(runs)
    assert (first[4], second[4]) == (1, 5)


def test_changes_are_limited() -> None:
    runs = make(most=5)
    for number in range(6):
        runs.media(VIDEO, number, bytearray(AVC_HEADER + bytes((number,))), 0)
        runs.media(VIDEO, number, bytearray(video_frame(number)), 0)
        runs.media(AUDIO, number, bytearray(b"\x2fmp3"), 0)
    with pytest.raises(LimitExceeded):
        runs.media(VIDEO, 9, bytearray(AVC_HEADER + b"\x09"), 0)


def test_frames_before_their_sequence_header_are_dropped_and_counted() -> None:
    runs = make()
    runs.metadata({"videocodecid": 7.0})
    assert not runs.media(VIDEO, 0, bytearray(video_frame(0)), 0)
    runs.media(VIDEO, 40, bytearray(AVC_HEADER), 0)
    runs.media(VIDEO, 40, bytearray(video_frame(1)), 0)
    assert runs.dropped == 1
    assert frames_of(drain(runs)[0]) == [(40, 1)]


def test_timestamps_above_24_bits_and_at_the_wrap() -> None:
    runs = make()
    runs.metadata({"videocodecid": 7.0})
    runs.media(VIDEO, 0xFFFFFFF0, bytearray(AVC_HEADER), 0)
    for number, at in enumerate((0xFFFFFFF0, 0x10, 0x01020304)):
        runs.media(VIDEO, at, bytearray(video_frame(number)), 0)
    assert frames_of(drain(runs)[0]) == [(0xFFFFFFF0, 0), (0x10, 1), (0x01020304, 2)]


def media(kind: int, raw: bytes) -> tuple[str, str, bytes] | None:
    found = read_media(kind, bytearray(raw))
    return found and (found.role, found.codec, found.prefix + bytes(found.body))


@pytest.mark.parametrize(
    ("kind", "raw", "expected"),
    [
        (VIDEO, b"\x90hvc1cfg", ("config", "hvc1", b"\x90hvc1cfg")),
        (VIDEO, b"\x91hvc1\0\0\0data", ("frame", "hvc1", b"\x91hvc1\0\0\0data")),
        (VIDEO, b"\x93hvc1data", ("frame", "hvc1", b"\x93hvc1data")),
        (VIDEO, b"\x91hvc1\0\0\0", None),  # no data
        (VIDEO, b"\x92hvc1", None),  # the end of a sequence
        (VIDEO, b"\x94av01meta", ("extra", "av01", b"\x94av01meta")),
        (VIDEO, b"\x96\x01hvc1\0", None),  # multitrack
        (VIDEO, b"\xd1\0hvc1x", None),  # a command
        (VIDEO, b"\x97\x02abc\x01av01data", ("frame", "av01", b"\x91av01data")),  # ModEx
        (VIDEO, b"\x97\xff\x00\x01ab\x07\x00z\x03av01data", ("frame", "av01", b"\x93av01data")),  # twice
        (VIDEO, b"\x97\xff\xff", None),
        (VIDEO, b"\x1c\x00\0\0\0cfg", ("config", "hvc1", b"\x90hvc1cfg")),  # codec id 12
        (VIDEO, b"\x2c\x01\0\0\1data", ("frame", "hvc1", b"\xa1hvc1\0\0\1data")),
        (VIDEO, b"\x57\x00", None),  # a seek mark
        (VIDEO, b"\x17\x02\0\0\0", None),
        (VIDEO, b"\x17\x01\0\0\0", None),
        (AUDIO, b"\x90Opusheader", ("config", "Opus", b"\x90Opusheader")),
        (AUDIO, b"\x91Opusdata", ("frame", "Opus", b"\x91Opusdata")),
        (AUDIO, b"\x94Opus\x01\x02", ("extra", "Opus", b"\x94Opus\x01\x02")),
        (AUDIO, b"\x95\x01Opus", None),
        (AUDIO, b"\x2fmp3", ("frame", ".mp3", b"\x2fmp3")),
        (AUDIO, b"\xaf\x01", None),
        (AUDIO, b"", None),
    ],
)
def test_what_messages_hold(kind: int, raw: bytes, expected: object) -> None:
    assert media(kind, raw) == expected


@settings(max_examples=300, deadline=None)
@given(
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
def test_whatever_comes_the_flv_is_sound(items: list[tuple[int, int, bytes, bytes]]) -> None:
    runs = make()
    kept = 0
    for kind, at, head, rest in items:
        kept += runs.media(kind, at, bytearray(head + rest), 0)
    tags = [read_flv(data) for data in drain(runs)]
    frames = [body for run in tags for kind, _, body in run if read_media(kind, bytearray(body)).role == "frame"]
    assert len(frames) == kept


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
