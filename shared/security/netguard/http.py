"""An HTTP client that connects only to checked addresses."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable
from datetime import timedelta
from typing import Final

import httpcore
import httpx

from shared.security.netguard.addresses import Networks
from shared.security.netguard.resolve import LOOKUP_TIMEOUT, Lookup, resolve_checked, shares

CONNECT_TIMEOUT: Final = timedelta(seconds=5)
_Options = Iterable[httpcore.SOCKET_OPTION]


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Opens TCP connections to addresses checked at connect time; TLS and the Host header keep the name."""

    def __init__(self, allowed: Networks, lookup: Lookup | None = None) -> None:
        self._allowed = tuple(allowed)
        self._lookup = lookup
        self._tcp = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  httpcore's own signature
        local_address: str | None = None,
        socket_options: _Options | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Resolve, check and connect; a host's addresses share the time, so that each gets a try."""
        loop = asyncio.get_running_loop()
        end = loop.time() + (CONNECT_TIMEOUT.total_seconds() if timeout is None else timeout)
        within = min(LOOKUP_TIMEOUT, timedelta(seconds=end - loop.time()))
        addresses = await resolve_checked(host, port, allowed=self._allowed, lookup=self._lookup, within=within)
        failure: Exception = httpcore.ConnectTimeout()
        for address, share in shares(addresses, end, loop.time):
            try:
                return await self._tcp.connect_tcp(str(address), port, share, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def sleep(self, seconds: float) -> None:
        """Sleep, for httpcore's retries."""
        await self._tcp.sleep(seconds)


class GuardedTransport(httpx.AsyncHTTPTransport):
    """An httpx transport that checks every connection, those of redirects too. Supports no proxy.

    A request may raise AddressRefused or DestinationFailed besides httpx's own errors. At most `most` connections;
    none is kept for another request, so that no two accounts share one.
    """

    def __init__(
        self,
        allowed: Networks,
        *,
        verify: ssl.SSLContext | None = None,
        lookup: Lookup | None = None,
        most: int | None = None,
    ) -> None:
        context = verify or httpx.create_ssl_context()
        super().__init__(verify=context)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=context,
            max_connections=most,
            max_keepalive_connections=0,
            network_backend=GuardedBackend(allowed, lookup),
        )


def guarded_client(transport: GuardedTransport, *, timeout: httpx.Timeout) -> httpx.AsyncClient:
    """Return a client that follows no redirects and ignores the environment's proxy settings."""
    return httpx.AsyncClient(transport=transport, timeout=timeout, follow_redirects=False, trust_env=False)


async def read_at_most(response: httpx.Response, limit: int) -> bytes:
    """Return up to `limit` bytes of a body as sent (never decompressed), and leave the rest unread."""
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) >= limit:
            break
    return bytes(body[:limit])
