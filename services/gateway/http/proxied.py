"""HTTP connections from balancers: their header (PROXY protocol) names the client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from services.gateway.http.protocol import BoundedProtocol
from shared.runtime.logging import get_logger
from shared.security.proxied import HEADER_WITHIN, ProxyError, parse_header

log = get_logger()


class ProxiedProtocol(BoundedProtocol):
    """A connection that starts with a header if a balancer opens it; counted as the balancer's until that arrives."""

    def __init__(self, *args: Any, trusts: Callable[[str], bool], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._trusts = trusts
        self._header: bytearray | None = None
        self._late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Wait for the header first, if the peer is a balancer."""
        super().connection_made(transport)
        if self.client is not None and self._trusts(self.client[0]):
            self._header = bytearray()
            self._late = self.loop.call_later(HEADER_WITHIN.total_seconds(), self._spurn, "no PROXY header in time")

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting for the header, and release all that the connection holds."""
        self._forget()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse the header first, then pass on the rest."""
        if self._header is None:
            return super().data_received(data)
        self._header += data
        try:
            header = parse_header(self._header)
        except ProxyError as error:
            return self._spurn(str(error))
        if header is None:
            return None
        rest = bytes(self._header[header.size :])
        self._forget()
        if header.address:
            self._crowd.leave(self)
            self.client = (header.address, header.port)
            if not self._crowd.enter(self, header.address):
                return self.abort()
        return super().data_received(rest) if rest else None

    def _spurn(self, reason: str) -> None:
        log.info("http.proxy.refused", peer=self.client[0] if self.client else "", reason=reason)
        self._forget()
        self.abort()

    def _forget(self) -> None:
        self._header = None
        if self._late is not None:
            self._late.cancel()
            self._late = None
