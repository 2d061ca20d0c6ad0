"""Socket addresses between Python and C: struct sockaddr_in and sockaddr_in6 of Linux."""

from __future__ import annotations

import ctypes
import socket
import struct
from dataclasses import dataclass
from typing import Final

SOCKADDR_MAX: Final = 128  # sizeof(struct sockaddr_storage)


@dataclass(frozen=True, slots=True)
class Address:
    """An IP address and a UDP port."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return host:port, IPv6 in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def resolve(host: str, port: int, *, passive: bool = False) -> bytes:
    """Return the packed sockaddr of a name or address; an empty host is every IPv4 address. OSError if unknown."""
    flags = socket.AI_PASSIVE if passive else 0
    found = socket.getaddrinfo(host or "0.0.0.0", port, type=socket.SOCK_DGRAM, flags=flags)  # noqa: S104  an empty host means this
    family, _, _, _, where = found[0]
    return _pack(family, str(where[0]), int(where[1]))


def _pack(family: int, host: str, port: int) -> bytes:
    raw = socket.inet_pton(family, host.split("%", 1)[0])
    if family == socket.AF_INET:
        return struct.pack("=H", family) + struct.pack("!H", port) + raw + bytes(8)
    return struct.pack("=H", family) + struct.pack("!HI", port, 0) + raw + struct.pack("=I", 0)


def unpack(raw: bytes) -> Address:
    """Return the address in a sockaddr of at least 28 bytes; an IPv4 address mapped into IPv6 as IPv4."""
    (family,) = struct.unpack_from("=H", raw)
    (port,) = struct.unpack_from("!H", raw, 2)
    if family == socket.AF_INET:
        return Address(socket.inet_ntop(socket.AF_INET, raw[4:8]), port)
    if family == socket.AF_INET6:
        if raw[8:20] == bytes(10) + b"\xff\xff":
            return Address(socket.inet_ntop(socket.AF_INET, raw[20:24]), port)
        return Address(socket.inet_ntop(socket.AF_INET6, raw[8:24]), port)
    return Address("", 0)


def read_pointer(pointer: int | None) -> Address:
    """Return the address in the sockaddr at a C pointer; libsrt always passes its family's full size."""
    if not pointer:
        return Address("", 0)
    (family,) = struct.unpack("=H", ctypes.string_at(pointer, 2))
    size = 16 if family == socket.AF_INET else 28
    return unpack(ctypes.string_at(pointer, size).ljust(28, b"\0"))
