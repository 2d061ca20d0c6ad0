"""How this machine is reached from outside when no setting tells."""

from __future__ import annotations

import socket
from typing import Final

# Documentation addresses (RFC 5737, RFC 3849): connecting a UDP socket sends nothing, but shows the route's address.
_OUTSIDE: Final = {4: (socket.AF_INET, "192.0.2.1"), 6: (socket.AF_INET6, "2001:db8::1")}


def is_any(host: str) -> bool:
    """Return whether a host to bind means all addresses of this machine, as 0.0.0.0 and :: do."""
    return host in {"0.0.0.0", "::"}  # noqa: S104  compares, binds nothing


def reachable_host(host: str) -> str:
    """Return the host to connect to for a bound host: for 0.0.0.0 and :: the primary address, or the host name."""
    return _primary_address(6 if ":" in host else 4) or socket.gethostname() if is_any(host) else host


def in_url(host: str) -> str:
    """Return a host as a URL has it: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def _primary_address(version: int) -> str | None:
    family, outside = _OUTSIDE[version]
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((outside, 9))
            return str(probe.getsockname()[0])
    except OSError:  # no route, or no such protocol here
        return None
