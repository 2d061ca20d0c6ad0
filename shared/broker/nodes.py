"""The nodes of the broker: the list in REELAY_NATS_URL, how clients connect to them, and which of them answer."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from shared.runtime.logging import get_logger

log = get_logger()
SCHEMES: Final = {"nats": 4222, "tls": 4222, "ws": 80, "wss": 443}
MOST: Final = 16
LOOK: Final = timedelta(seconds=5)
PATIENCE: Final = timedelta(seconds=2)
CONNECT: Final = {False: timedelta(seconds=5), True: timedelta(seconds=2)}
"""How long a client waits for a node, alone or with others. It leaves a hanging node after two or three pings."""
PING: Final = {False: timedelta(seconds=10), True: timedelta(seconds=2)}


@dataclass(frozen=True)
class Nodes:
    """Addresses of nodes, without credentials, and the credentials, which are the same for the whole cluster.

    The same credentials serve nodes that the broker announces (nats-py gets only their addresses).
    """

    urls: tuple[str, ...]
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    @property
    def several(self) -> bool:
        """Whether there is more than one node."""
        return len(self.urls) > 1

    @cached_property
    def shown(self) -> str:
        """The nodes as text for people: `nats://a:4222, nats://b:4222`."""
        return ", ".join(self.urls)

    def options(self) -> dict[str, Any]:
        """Return the arguments of `nats.connect` that concern the nodes."""
        login = {"user": self.user, "password": self.password} if self.password else {"token": self.user or None}
        return {
            "servers": list(self.urls),
            "connect_timeout": CONNECT[self.several].total_seconds(),
            "ping_interval": PING[self.several].total_seconds(),
            **login,
        }


def parse_nodes(text: str) -> Nodes:
    """Parse a list of URLs separated by commas; raise ValueError, without credentials, when it is not one."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not 1 <= len(parts) <= MOST:
        raise ValueError(f"names no node, or more than {MOST}: nats://host:4222,nats://host:4222")
    split = [_split(part, number) for number, part in enumerate(parts, 1)]
    logins = {(url.username or "", url.password or "") for url in split if url.username or url.password}
    if len(logins) > 1:
        raise ValueError("the nodes of a cluster have the same users: give one user and password")
    user, password = next(iter(logins), ("", ""))
    if password and not user:
        raise ValueError("a password is given without a user")
    urls = tuple(dict.fromkeys(_shown(url) for url in split))
    if len({url.startswith("ws") for url in urls}) > 1:
        raise ValueError("ws:// and nats:// cannot be mixed")
    return Nodes(urls, user, password)


def _split(part: str, number: int) -> SplitResult:
    try:
        url = urlsplit(part if "://" in part else f"nats://{part}")
        if url.scheme in SCHEMES and url.hostname and (url.port is None or url.port):
            return url
    except ValueError:
        pass  # the error would show the URL, and with it a password
    raise ValueError(f"number {number} is not a URL as nats://user:password@host:4222") from None


def _shown(url: SplitResult) -> str:
    host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
    return f"{url.scheme}://{host}:{url.port or SCHEMES[url.scheme]}"


class NodeWatch:
    """Checks every 5 s which of several nodes answer, while clients use the others."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._silent: list[str] = []

    def notes(self) -> dict[str, str]:
        """Return which of several nodes do not answer; a single silent node is a fault, not a note."""
        if not self._silent:
            return {}
        return {"nodes": f"{', '.join(self._silent)} {'do' if len(self._silent) > 1 else 'does'} not answer"}

    async def look(self) -> None:
        """Check all nodes once."""
        answers = await asyncio.gather(*map(_answers, self._nodes.urls))
        silent = [url for url, answer in zip(self._nodes.urls, answers, strict=True) if not answer]
        for url in self._nodes.urls:
            if url in silent and url not in self._silent:
                log.warning("broker.node.silent", node=url)
            elif url in self._silent and url not in silent:
                log.info("broker.node.answers", node=url)
        self._silent = silent

    async def watching(self) -> None:
        """Check the nodes every LOOK until the task is cancelled."""
        while self._nodes.several:
            await self.look()
            await asyncio.sleep(LOOK.total_seconds())


async def _answers(url: str) -> bool:
    """Return whether a node accepts clients: it sends INFO first, except over TLS and WebSocket."""
    parts = urlsplit(url)
    writer = None
    try:
        async with asyncio.timeout(PATIENCE.total_seconds()):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=1 << 16)
            return parts.scheme != "nats" or (await reader.readexactly(4)) == b"INFO"
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return False
    finally:
        if writer is not None:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
