"""The checks for threads that may block: look-ups and connections to checked addresses only."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final

from shared.errors import DestinationFailed
from shared.security.netguard.addresses import Address, Networks
from shared.security.netguard.resolve import is_address, keep_reachable, shares

BlockingLookup = Callable[[str, int], list[str]]
SLICE: Final = timedelta(milliseconds=100)
_UNDER_WAY: Final = frozenset({errno.EINPROGRESS, errno.EALREADY})


def resolve_now(
    host: str, port: int, *, allowed: Networks, lookup: BlockingLookup | None = None
) -> tuple[Address, ...]:
    """Return a host's addresses that may be reached, as `resolve_checked` does, but without a timeout."""
    try:
        found = [host] if is_address(host) else (lookup or ask_system)(host, port)
    except (OSError, UnicodeError) as error:
        raise DestinationFailed(f"{host}: the name was not found") from error
    return keep_reachable(host, found, allowed)


def ask_system(host: str, port: int) -> list[str]:
    """Return the addresses from the system's resolver; raise OSError when the name is not found."""
    return [str(row[4][0]) for row in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def connect_now(
    host: str, port: int, *, allowed: Networks, within: timedelta, lookup: BlockingLookup | None = None
) -> socket.socket:
    """Open a TCP connection to a checked address. `within` does not bound the look-up.

    Raise AddressRefused or DestinationFailed.
    """
    addresses = resolve_now(host, port, allowed=allowed, lookup=lookup)
    try:
        return connect_checked(addresses, port, time.monotonic() + within.total_seconds())
    except TimeoutError as error:
        raise DestinationFailed(f"{host}:{port} could not be reached: timed out") from error
    except OSError as error:
        raise DestinationFailed(f"{host}:{port} could not be reached: {error.strerror or 'failed'}") from error


def connect_checked(
    addresses: Sequence[Address], port: int, end: float, heed: Callable[[], None] = lambda: None
) -> socket.socket:
    """Open a TCP connection to the first address that answers, each in its share of the time up to `end` (s).

    `heed` is called every SLICE, and may raise to cancel. Raise the last address's OSError or TimeoutError.
    """
    failure: OSError = TimeoutError("timed out")
    for address, share in shares(addresses, end, time.monotonic):
        try:
            return _connect(address, port, time.monotonic() + share, heed)
        except OSError as error:
            failure = error
    raise failure


def _connect(address: Address, port: int, until: float, heed: Callable[[], None]) -> socket.socket:
    with contextlib.ExitStack() as stack:
        sock = socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET, socket.SOCK_STREAM)
        stack.callback(sock.close)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        code = sock.connect_ex((str(address), port))
        while code in _UNDER_WAY:
            heed()
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError("timed out")
            code = _settled(sock, min(left, SLICE.total_seconds()))
        if code:
            raise OSError(code, os.strerror(code))
        sock.setblocking(True)
        stack.pop_all()
    return sock


def _settled(sock: socket.socket, within: float) -> int:
    """Wait up to `within` s for a connection; return its error code, 0 when it is established."""
    poll = select.poll()
    poll.register(sock, select.POLLOUT)
    if not poll.poll(within * 1000):
        return errno.EINPROGRESS
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
