"""Where the parts of a request end: the framer against what is known of the request."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.http.framing import Excess, Framer, HttpLimits

LIMITS = HttpLimits(head=2000, fields=10, chunk_line=40, chunks=20, trailers=500, trailer_fields=5, piece=64)


def follow(framer: Framer, data: bytes, headers: list[tuple[bytes, bytes]]) -> tuple[int, int]:
    """Cut until the request is whole or the data at an end; give where that is, and the longest part."""
    at = longest = 0
    while at < len(data) and not framer.whole:
        was_head = framer.in_head
        end = framer.cut(data, at)
        assert at < end <= len(data), "it goes on"
        longest = max(longest, end - at)
        at = end
        if was_head and data[:at].endswith(b"\r\n\r\n") and data[:at].strip():
            framer.body(headers)
    return at, longest


REQUESTS = st.one_of(
    st.just((b"GET / HTTP/1.1\r\nA: b\r\n\r\n", [])),
    st.binary(max_size=500).map(
        lambda body: (
            b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body),
            [(b"content-length", b"%d" % len(body))],
        )
    ),
    st.lists(st.binary(min_size=1, max_size=60), max_size=8).map(
        lambda chunks: (
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
            + b"".join(b"%x;e=1\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
            + b"000\r\nT: 1\r\n\r\n",
            [(b"transfer-encoding", b"chunked")],
        )
    ),
)


@given(REQUESTS, st.binary(max_size=300), st.lists(st.integers(1, 200), max_size=30))
def test_a_request_ends_where_it_ends_however_it_comes(
    request: tuple[bytes, list[tuple[bytes, bytes]]], behind: bytes, reads: list[int]
) -> None:
    data, headers = request
    whole = data + behind
    framer = Framer(LIMITS)
    at = taken = 0
    for size in [*reads, len(whole)]:
        block = whole[at : at + size]
        at += size
        start = 0
        while start < len(block) and not framer.whole:
            was_head = framer.in_head
            end = framer.cut(block, start)
            taken += end - start
            start = end
            if was_head and whole[:taken].endswith(b"\r\n\r\n"):
                framer.body(headers)
        if framer.whole:
            break
    assert framer.whole
    assert taken == len(data)


@pytest.mark.parametrize(
    ("data", "headers", "status"),
    [
        (b"GET / HTTP/1.1\r\nA: " + b"x" * 3000, [], 431),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 20, [], 431),
        (b"\r\n" * 20, [], 431),
        (b"P / HTTP/1.1\r\n\r\n" + b"1" * 50, [(b"transfer-encoding", b"chunked")], 400),
        (b"P / HTTP/1.1\r\n\r\nxyz\r\n", [(b"transfer-encoding", b"chunked")], 400),
        (b"P / HTTP/1.1\r\n\r\n\r\n", [(b"transfer-encoding", b"chunked")], 400),
        (b"P / HTTP/1.1\r\n\r\n" + b"1\r\nx\r\n" * 21, [(b"transfer-encoding", b"chunked")], 413),
        (b"P / HTTP/1.1\r\n\r\n0\r\n" + b"A: b\r\n" * 7, [(b"transfer-encoding", b"chunked")], 431),
        (b"P / HTTP/1.1\r\n\r\n0\r\n" + b"x" * 600, [(b"transfer-encoding", b"chunked")], 431),
    ],
)
def test_each_bound_is_told(data: bytes, headers: list[tuple[bytes, bytes]], status: int) -> None:
    with pytest.raises(Excess) as caught:
        follow(Framer(LIMITS), data, headers)
    assert caught.value.status == status


def test_no_part_of_a_body_is_longer_than_a_piece() -> None:
    framer = Framer(LIMITS)
    head = b"P / HTTP/1.1\r\n\r\n"
    assert follow(framer, head + b"x" * 1000, [(b"content-length", b"1000")]) == (len(head) + 1000, 64)
