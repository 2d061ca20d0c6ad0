"""uvicorn beside the broker: the service, not uvicorn, owns the loop and the signals."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import resource
import socket
from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import timedelta
from functools import partial
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from services.gateway.http.crowd import Crowd
from services.gateway.http.framing import HttpLimits
from services.gateway.http.proxied import ProxiedProtocol
from shared.runtime.settings import Network
from shared.security.proxied import trusting

STOP: Final = timedelta(seconds=5)
START: Final = timedelta(seconds=10)
START_LOOK: Final = timedelta(milliseconds=5)
OWN_FILES: Final = 256
"""Open files that are not clients' connections."""
LIMITS: Final = HttpLimits()


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the service."""
        yield


def listen(host: str, port: int) -> socket.socket:
    """Bind the HTTP port (0: any free one); OSError when it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.create_server((host, port), family=family, backlog=2048)
    # asyncio sets it only on sockets made with a protocol number; without it a small answer waits 40 ms for an ack.
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return bound


def raise_file_limit() -> int:
    """Raise the limit of open files to what the system allows, and return it; distributions start with 1024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


@contextlib.asynccontextmanager
async def serving(
    app: ASGIApp, bound: socket.socket, limits: HttpLimits | None = None, balancers: Iterable[Network] = ()
) -> AsyncIterator[None]:
    """Serve `app` on a bound socket while the block runs; requests in progress get STOP to end.

    Connections from `balancers` start with a PROXY header.
    """
    limits = limits or LIMITS
    most = max(1, raise_file_limit() - OWN_FILES)
    limits = dataclasses.replace(limits, connections=min(limits.connections, most))
    protocol = partial(ProxiedProtocol, trusts=trusting(balancers), crowd=Crowd(limits), limits=limits)
    config = uvicorn.Config(
        app,
        http=protocol,  # type: ignore[arg-type]  # any factory will do
        interface="asgi3",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=STOP // timedelta(seconds=1),
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[bound]))
    try:
        async with asyncio.timeout(START.total_seconds()):
            while not server.started and not task.done():  # noqa: ASYNC110  uvicorn has this flag alone
                await asyncio.sleep(START_LOOK.total_seconds())
        yield
    finally:
        server.should_exit = True
        await task
