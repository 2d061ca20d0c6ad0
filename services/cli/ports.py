"""The ports of a stack: chosen when 0, checked before anything starts."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

Kind = Literal["TCP", "UDP"]
_LISTEN: Final = "0A"  # TCP_LISTEN of include/net/tcp_states.h, as /proc/net/tcp writes it
_TYPES: Final = {"TCP": socket.SOCK_STREAM, "UDP": socket.SOCK_DGRAM}


@dataclass(frozen=True, slots=True)
class Port:
    """A port that a setting names; 0 asks for any free one."""

    setting: str
    kind: Kind
    host: str
    number: int

    def __str__(self) -> str:
        """Return the port as error messages name it."""
        return f"{self.kind} port {self.number} ({self.setting})"


def _bind(port: Port) -> int:
    """Bind a port, release it and return its number. OSError when it cannot be bound."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        port.host, port.number, type=_TYPES[port.kind], flags=socket.AI_PASSIVE
    )[0]
    with socket.socket(family, kind, protocol) as probe:
        if port.kind == "TCP":  # connections of the last run may linger (TIME_WAIT); a listener still refuses
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
        return int(probe.getsockname()[1])


def free_port(host: str = "127.0.0.1", kind: Kind = "TCP") -> int:
    """Return a port that is free now."""
    return _bind(Port("", kind, host, 0))


def choose(port: Port) -> Port:
    """Return `port`, with a free number when it has none."""
    return port if port.number else replace(port, number=free_port(port.host, port.kind))


def listening(number: int) -> bool:
    """Return whether anything on this machine listens on a TCP port; read from /proc, without connecting."""
    ending = f":{number:04X}"
    for table in map(Path, ("/proc/net/tcp", "/proc/net/tcp6")):
        with contextlib.suppress(OSError):
            rows = [line.split() for line in table.read_text().splitlines()[1:]]
            if any(row[1].endswith(ending) and row[3] == _LISTEN for row in rows):
                return True
    return False


def fault(port: Port) -> str | None:
    """Return why a port cannot be used and what to do about it; None when it can."""
    try:
        _bind(port)
    except socket.gaierror:
        return f"the address {port.host} (REELAY_HOST) is not known on this machine"
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return f"{port} is taken by another program: stop it, or set {port.setting} to another port"
        if error.errno == errno.EACCES:
            return f"{port} needs root's rights: set {port.setting} to 1024 or more"
        if error.errno == errno.EADDRNOTAVAIL:
            return f"this machine does not have the address {port.host} (REELAY_HOST)"
        return f"{port} cannot be used: {error.strerror}"
    return None


def faults(ports: Iterable[Port]) -> list[str]:
    """Return everything that is wrong with the ports of a stack, including clashes between them."""
    found: list[str] = []
    seen: dict[tuple[Kind, int], Port] = {}
    for port in ports:
        other = seen.setdefault((port.kind, port.number), port)
        if other is not port:
            found.append(f"{port.setting} and {other.setting} are both {port.number}: they need different ports")
        elif reason := fault(port):
            found.append(reason)
    return found
