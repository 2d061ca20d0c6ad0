"""The PROXY protocol: what is read, what is waited for, what is refused, and how little is ever kept."""

from __future__ import annotations

import ipaddress
import socket
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.security.proxied import MOST_V1, MOST_V2, ProxyError, ProxyHeader, parse_header, trusting

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def v2(command: int = 0x21, family: int = 0x11, body: bytes | None = None, more: bytes = b"") -> bytes:
    if body is None:
        width = socket.AF_INET if family == 0x11 else socket.AF_INET6
        source = "203.0.113.7" if family == 0x11 else "2001:db8::7"
        body = socket.inet_pton(width, source) * 2 + struct.pack("!HH", 40000, 1935)
    return SIGNATURE + struct.pack("!BBH", command, family, len(body + more)) + body + more


GOOD = [
    (b"PROXY TCP4 203.0.113.7 10.0.0.1 40000 1935\r\n", "203.0.113.7", 40000),
    (b"PROXY TCP6 2001:DB8::7 2001:db8::1 40000 1935\r\n", "2001:db8::7", 40000),
    (b"PROXY TCP6 ::ffff:203.0.113.7 ::1 1 2\r\n", "203.0.113.7", 1),
    (b"PROXY UNKNOWN\r\n", "", 0),
    (b"PROXY UNKNOWN ffff:f...f ffff:f...f 65535 65535\r\n", "", 0),
    (v2(), "203.0.113.7", 40000),
    (v2(family=0x21), "2001:db8::7", 40000),
    (v2(more=b"\x04\x00\x10" + bytes(16)), "203.0.113.7", 40000),
    (v2(command=0x20), "", 0),
    (v2(command=0x20, family=0, body=b""), "", 0),
    (v2(family=0, body=b""), "", 0),
    (v2(family=0x31, body=bytes(216)), "", 0),
]
BAD = [
    b"GET / HTTP/1.1\r\n",
    b"\x03" + bytes(1536),
    b"PROXY TCP4 203.0.113.7 10.0.0.1 40000\r\n",
    b"PROXY TCP4 203.0.113.007 10.0.0.1 1 1\r\n",
    b"PROXY TCP4 2001:db8::7 10.0.0.1 1 1\r\n",
    b"PROXY TCP4 203.0.113.7 10.0.0.1 65536 1\r\n",
    b"PROXY TCP4 203.0.113.7 10.0.0.1 01 1\r\n",
    b"PROXY TCP4  203.0.113.7 10.0.0.1 1 1\r\n",
    b"PROXY TCP5 203.0.113.7 10.0.0.1 1 1\r\n",
    b"PROXY UNKNOWNS\r\n",
    b"PROXY \r\n",
    b"PROXY " + b"x" * MOST_V1,
    v2(command=0x11),
    v2(command=0x22),
    v2(family=0x12),
    v2(family=0x41),
    v2(body=bytes(11)),
    v2(family=0x21, body=bytes(35)),
    SIGNATURE + b"\x21\x11" + struct.pack("!H", MOST_V2),
    SIGNATURE + b"\x21\x11\xff\xff",
]


@pytest.mark.parametrize(("data", "address", "port"), GOOD)
def test_headers_are_read_whatever_pieces_they_come_in(data: bytes, address: str, port: int) -> None:
    for size in range(len(data)):
        assert parse_header(data[:size]) is None
    for rest in (b"", b"\x03rest", b"PROXY UNKNOWN\r\n"):
        assert parse_header(data + rest) == ProxyHeader(len(data), address, port)


@pytest.mark.parametrize("data", BAD)
def test_what_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(ProxyError):
        parse_header(data)


@settings(max_examples=500)
@given(st.one_of(
    st.binary(max_size=1100), st.binary(max_size=1100).map(lambda b: SIGNATURE + b),
    st.binary(max_size=200).map(lambda b: b"PROXY TCP4 " + b),
))  # fmt: skip
def test_no_bytes_break_it_and_it_waits_for_no_more_than_its_bound(data: bytes) -> None:
    try:
        found = parse_header(data)
    except ProxyError:
        return
    if found is None:
        assert len(data) < MOST_V2
    else:
        assert found.size <= len(data)
        assert not found.address or ipaddress.ip_address(found.address)


def test_who_is_trusted() -> None:
    trusts = trusting([ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8")])
    assert [a for a in ("10.1.2.3", "::ffff:10.1.2.3", "fd00::1%eth0", "11.0.0.1", "::1", "", "x") if trusts(a)] == [
        "10.1.2.3", "::ffff:10.1.2.3", "fd00::1%eth0",
    ]  # fmt: skip
    assert not trusting([])("127.0.0.1")
