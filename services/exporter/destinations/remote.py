"""What FTP and SFTP destinations share: a URL read as server, folders and name, and the way to the server."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from services.exporter.destinations.base import Order
from shared.errors import DestinationFailed, Rejected
from shared.security.netguard import Address, Networks, check_url, is_reachable, resolve_checked
from shared.security.netguard.resolve import Lookup, shares

CONNECT_S: Final = 15.0
SAMPLE: Final = 64 << 10
"""Bytes at either end of a file that are read back where the server tells no checksum."""
_UNFIT: Final = re.compile(r"[\x00-\x1f\x7f]")
_UNPRINTABLE: Final = re.compile(r"[^\x20-\x7e\xa0-\U0010ffff]+")
_LONGEST_SAYING: Final = 300


@dataclass(frozen=True, slots=True)
class Remote:
    """A file on a server. `folders` lead to it from the root when `absolute`, else from where a login begins."""

    scheme: str
    host: str
    port: int | None
    user: str
    password: str
    absolute: bool
    folders: tuple[str, ...]
    name: str
    location: str

    def __repr__(self) -> str:
        """Return the location, which has no secrets."""
        return f"Remote({self.location})"


def read_url(order: Order, schemes: frozenset[str], allowed: Networks) -> Remote:
    """Return what an order's URL names; credentials come before the URL's own. Raise DestinationFailed (final)."""
    try:
        url = check_url(order.url, schemes=schemes, allowed=allowed, credentials=True)
    except Rejected as error:
        raise DestinationFailed(str(error), final=True) from error
    parts = urlsplit(url.url)
    path = parts.path.removeprefix("/")
    absolute = path.startswith("/") or path[:3].lower() == "%2f"
    *folders, name = [_named(part) for part in _whole(path, absolute).split("/")]
    name = name or order.file_name
    folders = [folder for folder in folders if folder]
    shown = f"[{url.host}]" if ":" in url.host else url.host
    written = "/".join(quote(part) for part in ([""] if absolute else []) + [*folders, name])
    record = order.credential.record if order.credential else None
    return Remote(
        scheme=url.scheme, host=url.host, port=parts.port,
        user=(record.public if record else "") or unquote(parts.username or ""),
        password=(order.credential.private if order.credential else "") or unquote(parts.password or ""),
        absolute=absolute, folders=tuple(folders), name=name,
        location=f"{url.scheme}://{shown}{f':{parts.port}' if parts.port else ''}/{written}",
    )  # fmt: skip


def _whole(path: str, absolute: bool) -> str:
    return path.removeprefix("/") if not absolute or path.startswith("/") else path[3:].removeprefix("/")


def _named(part: str) -> str:
    """Return a decoded part of a path; it may not leave its folder, and holds nothing that ends a command."""
    text = unquote(part, errors="surrogateescape")
    if text in {".", ".."} or "/" in text or _UNFIT.search(text) or not _encodable(text):
        raise DestinationFailed(
            "the URL's path must not have '.', '..', control characters or bytes that are not UTF-8", final=True
        )
    return text


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def temporary_name(order: Order) -> str:
    """Return the name under which an order's bytes go up: one for each export and accuracy, whoever sends them."""
    return f".reelay-{order.export}-{order.accuracy}.part"


def saying(text: str) -> str:
    """Return what a server said in a form that may be shown: one line, printable, not long."""
    plain = _UNPRINTABLE.sub(" ", text).strip()
    return plain if len(plain) <= _LONGEST_SAYING else f"{plain[:_LONGEST_SAYING]}..."


async def connect(host: str, port: int, *, allowed: Networks, lookup: Lookup | None = None) -> socket.socket:
    """Return a non-blocking socket connected to a checked address of a host; raise DestinationFailed."""
    loop = asyncio.get_running_loop()
    end = loop.time() + CONNECT_S
    try:
        addresses = await resolve_checked(host, port, allowed=allowed, lookup=lookup)
    except Rejected as error:
        raise DestinationFailed(str(error), final=True) from error
    failure = "timed out"
    for address, share in shares(addresses, end, loop.time):
        try:
            return await _connect(address, port, share)
        except TimeoutError:
            failure = "timed out"
        except OSError as error:
            failure = error.strerror or "failed"
    raise DestinationFailed(f"{host}:{port} could not be reached: {failure}")


async def connect_beside(control: socket.socket, port: int, *, allowed: Networks) -> socket.socket:
    """Return a socket to another port of the very address that a socket is connected to; raise OSError."""
    address = _address(control)
    if not is_reachable(address, allowed):
        raise OSError("the address may not be reached")
    return await _connect(address, port, CONNECT_S)


def _address(sock: socket.socket) -> Address:
    return ipaddress.ip_address(sock.getpeername()[0])


async def _connect(address: Address, port: int, within: float) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        keep_alive(sock)
        async with asyncio.timeout(within):
            await asyncio.get_running_loop().sock_connect(sock, (str(address), port))
    except BaseException:
        sock.close()
        raise
    return sock


def keep_alive(sock: socket.socket) -> None:
    """Let the kernel probe an idle connection, so that routers keep it, and tell within two minutes that it is dead."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 6), ("TCP_USER_TIMEOUT", 120_000)):
        option = getattr(socket, name, None)
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
