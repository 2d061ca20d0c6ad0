"""RTMP chunks: every header form, any split of the bytes, and what a lying peer may cost."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.rtmp.chunks import (
    AUDIO,
    COMMAND_AMF0,
    VIDEO,
    ChunkLimits,
    ChunkParser,
    write_message,
)
from shared.rtmp.errors import LimitExceeded, ProtocolError
from tests.support.rtmp_client import abort, chunked, set_chunk_size

LIMITS = ChunkLimits(message=1 << 20, unfinished=1 << 20, streams=8)
Plain = tuple[int, int, int, bytes]


def parse(data: bytes, steps: list[int] | None = None, limits: ChunkLimits = LIMITS) -> list[Plain]:
    """Parse bytes in reads of the given sizes, then in whole buffers."""
    parser, found, at = ChunkParser(limits), [], 0
    steps = list(steps or [])
    while at < len(data):
        room = parser.room()
        count = min(len(room), len(data) - at, max(1, steps.pop(0)) if steps else len(room))
        room[:count] = data[at : at + count]
        at += count
        found += [(m.kind, m.timestamp, m.stream_id, bytes(m.payload)) for m in parser.parse(count)]
    return found


def test_format_0_carries_everything() -> None:
    assert parse(chunked(VIDEO, 1234, b"x" * 500)) == [(VIDEO, 1234, 1, b"x" * 500)]


def test_formats_1_and_2_add_to_the_time_and_keep_the_rest() -> None:
    data = chunked(AUDIO, 100, b"abc")
    data += b"\x44\x00\x00\x0a\x00\x00\x02\x09" + b"de"  # format 1: delta 10, length 2, video
    data += b"\x84\x00\x00\x05" + b"fg"  # format 2: delta 5
    data += b"\xc4" + b"hi"  # format 3: the same delta again
    assert parse(data) == [
        (AUDIO, 100, 1, b"abc"),
        (VIDEO, 110, 1, b"de"),
        (VIDEO, 115, 1, b"fg"),
        (VIDEO, 120, 1, b"hi"),
    ]


def test_format_3_after_format_0_repeats_its_timestamp_as_delta() -> None:
    assert [m[1] for m in parse(chunked(AUDIO, 40, b"a") + b"\xc4b")] == [40, 80]


def test_time_wraps_at_32_bits() -> None:
    data = chunked(AUDIO, 0xFFFFFFF0, b"a") + b"\x84\x00\x00\x20b"
    assert [m[1] for m in parse(data)] == [0xFFFFFFF0, 0x10]


@pytest.mark.parametrize("repeated", [True, False])
def test_extended_timestamps_with_and_without_repetition(repeated: bool) -> None:
    payload = bytes(range(256)) * 2
    data = b"\x04\xff\xff\xff" + len(payload).to_bytes(3, "big") + b"\x09\x01\0\0\0" + b"\x01\x02\x03\x04"
    joint = b"\xc4" + (b"\x01\x02\x03\x04" if repeated else b"")
    data += joint.join(payload[at : at + 128] for at in range(0, 512, 128))
    assert parse(data) == [(VIDEO, 0x01020304, 1, payload)]


def test_extended_delta() -> None:
    data = chunked(AUDIO, 7, b"a") + b"\x84\xff\xff\xff\x01\x00\x00\x00b" + b"\xc4\x01\x00\x00\x00c"
    assert [m[1] for m in parse(data)] == [7, 0x01000007, 0x02000007]


@pytest.mark.parametrize("head", [b"\x00\x10", b"\x01\x10\x02"])
def test_long_chunk_stream_numbers(head: bytes) -> None:
    body = b"\0\0\1\0\0\2\x08\1\0\0\0ab"
    assert parse(head + body + bytes((0xC0 | head[0],)) + head[1:] + b"cd") == [
        (AUDIO, 1, 1, b"ab"),
        (AUDIO, 2, 1, b"cd"),
    ]


def test_messages_of_two_streams_interleave() -> None:
    video, audio = chunked(VIDEO, 1, b"v" * 200), chunked(AUDIO, 2, b"a" * 200, stream=5)
    cut = 12 + 128
    assert parse(video[:cut] + audio[:cut] + video[cut:] + audio[cut:]) == [
        (VIDEO, 1, 1, b"v" * 200),
        (AUDIO, 2, 1, b"a" * 200),
    ]


def test_chunk_size_takes_effect_at_once() -> None:
    big = b"b" * 3000
    data = set_chunk_size(2000) + chunked(VIDEO, 0, big, size=2000) + set_chunk_size(100)
    data += chunked(VIDEO, 0, big, size=100)
    assert [m[3] for m in parse(data) if m[0] == VIDEO] == [big, big]


def test_abort_forgets_the_unfinished_message() -> None:
    data = chunked(VIDEO, 0, b"v" * 300)[: 12 + 128] + abort(4) + chunked(VIDEO, 9, b"w" * 300)
    assert [m for m in parse(data) if m[0] == VIDEO] == [(VIDEO, 9, 1, b"w" * 300)]


def test_an_empty_message_ends_with_its_header() -> None:
    assert parse(chunked(AUDIO, 5, b"")) == [(AUDIO, 5, 1, b"")]


@pytest.mark.parametrize(
    "data",
    [
        b"\xc4",  # format 3 without a header before it
        b"\x84\0\0\0",  # format 2 without a length before it
        chunked(VIDEO, 0, b"v" * 300)[: 12 + 128] + chunked(VIDEO, 0, b"w"),  # a message inside another one
        set_chunk_size(0),
        set_chunk_size(0x80000000),
        chunked(1, 0, b"\0"),  # a chunk size cut short
    ],
)
def test_what_rtmp_does_not_allow_ends_it(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse(data)


@pytest.mark.parametrize(
    ("data", "limits"),
    [
        (chunked(VIDEO, 0, b"v" * 101), ChunkLimits(message=100, unfinished=1000, streams=8)),
        (
            b"".join(chunked(VIDEO, 0, b"v" * 150, stream=s)[: 12 + 128] for s in range(4, 9)),
            ChunkLimits(message=200, unfinished=500, streams=8),
        ),
        (
            b"".join(chunked(VIDEO, 0, b"v", stream=s) for s in range(4, 9)),
            ChunkLimits(message=100, unfinished=100, streams=4),
        ),
    ],
)
def test_limits(data: bytes, limits: ChunkLimits) -> None:
    with pytest.raises(LimitExceeded):
        parse(data, limits=limits)


def test_what_we_write_reads_back() -> None:
    body = bytes(range(256)) * 3
    data = set_chunk_size(100) + write_message(3, COMMAND_AMF0, 1, body, chunk_size=100)
    assert parse(data)[1:] == [(COMMAND_AMF0, 0, 1, body)]


messages = st.lists(
    st.tuples(st.integers(2, 7), st.sampled_from([8, 9, 18, 20]), st.integers(0, 2**32 - 1), st.binary(max_size=700)),
    max_size=8,
)


@settings(max_examples=150, deadline=None)
@given(messages=messages, steps=st.lists(st.integers(1, 300), max_size=60), size=st.integers(1, 400))
def test_any_split_gives_the_same_messages(messages: list[Plain], steps: list[int], size: int) -> None:
    data = set_chunk_size(size)
    data += b"".join(chunked(kind, at, body, stream=s, size=size) for s, kind, at, body in messages)
    assert parse(data, steps)[1:] == [(kind, at, 1, body) for _, kind, at, body in messages]


@settings(max_examples=40, deadline=None)
@given(messages=messages)
def test_byte_by_byte(messages: list[Plain]) -> None:
    data = b"".join(chunked(kind, at, body, stream=s) for s, kind, at, body in messages)
    assert parse(data, [1] * len(data)) == [(kind, at, 1, body) for _, kind, at, body in messages]


@settings(max_examples=150, deadline=None)
@given(messages=messages, flips=st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 255)), max_size=5))
def test_a_damaged_stream_ends_in_a_known_error_or_goes_on(messages: list[Plain], flips: list[tuple[int, int]]) -> None:
    data = bytearray(b"".join(chunked(kind, at, body, stream=s) for s, kind, at, body in messages))
    for at, mask in flips:
        if at < len(data):
            data[at] ^= mask
    try:
        found = parse(bytes(data))
    except (ProtocolError, LimitExceeded):
        return
    assert sum(len(m[3]) for m in found) <= len(data)


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=3000), steps=st.lists(st.integers(1, 500), max_size=20))
def test_garbage_ends_in_a_known_error_or_waits(data: bytes, steps: list[int]) -> None:
    small = ChunkLimits(message=4096, unfinished=8192, streams=4)
    try:
        found = parse(data, steps, small)
    except (ProtocolError, LimitExceeded):
        return
    assert sum(len(m[3]) for m in found) <= len(data)


def test_a_cut_header_overwrites_no_payload_that_came_before_it() -> None:
    """The first read ends behind a header, the second in the middle of one: its rest must not land on the payload."""
    first, second = chunked(VIDEO, 1, b"v" * 100), chunked(VIDEO, 2, b"w" * 100)
    assert parse(first + second, [12, 100 + 11]) == [(VIDEO, 1, 1, b"v" * 100), (VIDEO, 2, 1, b"w" * 100)]
