"""The same checks for threads that may block: look-ups and connections to checked addresses only."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from datetime import timedelta

from shared.errors import DestinationFailed
from shared.security.netguard.addresses import Address, Networks
from shared.security.netguard.resolve import is_address, keep_reachable

BlockingLookup = Callable[[str, int], list[str]]
_LEAST_S = 0.05


def resolve_now(
    host: str, port: int, *, allowed: Networks, lookup: BlockingLookup | None = None
) -> tuple[Address, ...]:
    """Return the addresses of a host that may be reached, as `resolve_checked` does; takes as long as the resolver."""
    try:
        found = [host] if is_address(host) else (lookup or ask_system)(host, port)
    except (OSError, UnicodeError) as error:
        raise DestinationFailed(f"{host}: the name was not found") from error
    return keep_reachable(host, found, allowed)


def ask_system(host: str, port: int) -> list[str]:
    """Ask the system's resolver; OSError when the name is not found."""
    return [str(row[4][0]) for row in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def connect_now(
    host: str, port: int, *, allowed: Networks, within: timedelta, lookup: BlockingLookup | None = None
) -> socket.socket:
    """Open a TCP connection to a checked address; those of a host share the time, so that a dead one hides no other.

    AddressRefused, DestinationFailed; `within` does not bound the look-up.
    """
    addresses = resolve_now(host, port, allowed=allowed, lookup=lookup)
    end = time.monotonic() + within.total_seconds()
    why = "timed out"
    for number, address in enumerate(addresses):
        share = max(end - time.monotonic(), _LEAST_S) / (len(addresses) - number)
        try:
            return socket.create_connection((str(address), port), timeout=share)
        except TimeoutError:
            why = "timed out"
        except OSError as error:
            why = error.strerror or "failed"
    raise DestinationFailed(f"{host}:{port} could not be reached: {why}")
