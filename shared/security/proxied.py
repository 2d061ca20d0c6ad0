"""The PROXY protocol, versions 1 and 2: a header in which a load balancer names the client of a connection.

https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt, section 2.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from shared.errors import ReelayError
from shared.runtime.settings import Network

Kind = type[ipaddress.IPv4Address] | type[ipaddress.IPv6Address]
HEADER_WITHIN: Final = timedelta(seconds=3)
"""A balancer sends its header with the first packet."""
MOST_V1: Final = 107
MOST_V2: Final = 1024  # the protocol allows 65,551: addresses take 36, a balancer's additions some hundred
_SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_HEAD: Final = len(_SIGNATURE) + 4
_LINE: Final = re.compile(rb"PROXY (TCP4|TCP6) (\S{2,39}) (\S{2,39}) (0|[1-9]\d{0,4}) (0|[1-9]\d{0,4})\r\n")
_FAMILIES: Final[dict[int, tuple[int, Kind]]] = {
    0x11: (4, ipaddress.IPv4Address),
    0x21: (16, ipaddress.IPv6Address),
}  # TCP over IPv4, over IPv6
_UNTOLD: Final = frozenset({0x00, 0x31})  # unspecified; a UNIX socket


class ProxyError(ReelayError):
    """The connection does not start with a valid PROXY header."""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """A parsed header of `size` bytes. Without an address it is the balancer's own connection (health checks)."""

    size: int
    address: str = ""
    port: int = 0


def parse_header(data: bytes | bytearray) -> ProxyHeader | None:
    """Return the header at the start of `data`; None while it is incomplete.

    Raise ProxyError when it is not a header, at the latest after 107 bytes (version 1) or 1024.
    """
    if data[: len(_SIGNATURE)] == _SIGNATURE[: len(data)]:
        return _second(data)
    if data[:6] == b"PROXY "[: len(data)]:
        return _first(data)
    raise ProxyError("no PROXY header")


def _first(data: bytes | bytearray) -> ProxyHeader | None:
    end = data.find(b"\r\n", 0, MOST_V1)
    if end < 0:
        if len(data) >= MOST_V1:
            raise ProxyError("a PROXY line without an end")
        return None
    line = bytes(data[: end + 2])
    if line.startswith((b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN ")):
        return ProxyHeader(len(line))
    found = _LINE.fullmatch(line)
    if found is None:
        raise ProxyError("a PROXY line that cannot be read")
    kind: Kind = ipaddress.IPv4Address if found[1] == b"TCP4" else ipaddress.IPv6Address
    try:
        source, _ = kind(found[2].decode("ascii")), kind(found[3].decode("ascii"))
    except ValueError as error:
        raise ProxyError("a PROXY line without addresses") from error
    return _told(len(line), source, int(found[4]))


def _second(data: bytes | bytearray) -> ProxyHeader | None:
    if len(data) < _HEAD:
        return None
    command, family, length = struct.unpack_from("!BBH", data, len(_SIGNATURE))
    if command >> 4 != 2 or command & 15 > 1:
        raise ProxyError("another version of the PROXY protocol")
    size = _HEAD + length
    if size > MOST_V2:
        raise ProxyError(f"a PROXY header of {size} bytes")
    if command & 15 and family not in _FAMILIES and family not in _UNTOLD:
        raise ProxyError("a PROXY header of another kind of connection")
    if len(data) < size:
        return None
    if not command & 15 or family in _UNTOLD:
        return ProxyHeader(size)
    width, source = _FAMILIES[family]
    if length < 2 * width + 4:
        raise ProxyError("a PROXY header without addresses")
    port = struct.unpack_from("!H", data, _HEAD + 2 * width)[0]
    return _told(size, source(bytes(data[_HEAD : _HEAD + width])), port)


def _told(size: int, source: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> ProxyHeader:
    if port > 0xFFFF:
        raise ProxyError("a PROXY line with a port that is none")
    return ProxyHeader(size, str(getattr(source, "ipv4_mapped", None) or source), port)


def trusting(networks: Iterable[Network]) -> Callable[[str], bool]:
    """Return a function that tells whether an address is a balancer's."""
    known = tuple(networks)

    def trusts(address: str) -> bool:
        if not known:
            return False
        try:
            ip = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        ip = getattr(ip, "ipv4_mapped", None) or ip
        return any(ip in network for network in known)

    return trusts
