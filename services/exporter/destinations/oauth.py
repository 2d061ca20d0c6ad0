"""Access tokens by client credentials (RFC 6749, 4.4)."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any, Final
from urllib.parse import urlsplit

from services.exporter.destinations.hidden import hidden, of_query
from services.exporter.destinations.http_body import Reply
from services.exporter.destinations.http_server import UNAUTHORIZED, Login, Web, WebFile, WebServer
from shared.errors import DestinationFailed
from shared.runtime.clock import Clock

_EARLY_S: Final = 30
_USUAL_S: Final = 300
_NS: Final = 10**9
_LONGEST: Final = 200
_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,8192}")
"""What a field of HTTP can hold: what cannot be sent would be shown in the error."""
_WRONG: Final = frozenset({"invalid_client", "unauthorized_client", "invalid_grant"})


class Tokens:
    """Fetches a token when there is none, and another before it ends."""

    def __init__(self, web: Web, clock: Clock, url: str, client: str, secret: str) -> None:
        self._at = WebFile(url, urlsplit(url)._replace(query="").geturl())
        self._server = WebServer(web, Login(client, secret))
        self._clock = clock
        self._token = ""
        self._ends_ns = 0
        self._lock = asyncio.Lock()

    async def get(self) -> str:
        """Return a token; DestinationFailed when the server gives none."""
        async with self._lock:
            if not self._token or self._clock.monotonic_ns() >= self._ends_ns:
                await self._fetch()
            return self._token

    def drop(self) -> None:
        """Forget the token: it was refused."""
        self._token = ""

    async def _fetch(self) -> None:
        reply = await self._server.ask(
            "POST", self._at, b"grant_type=client_credentials", content_type="application/x-www-form-urlencoded",
            accept="application/json",
        )  # fmt: skip
        said = _read(reply.body)
        token, lasts = said.get("access_token"), said.get("expires_in")
        if reply.status != 200 or not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise self._refused(reply, said)
        lasts_s = lasts if isinstance(lasts, int) and lasts > 0 else _USUAL_S
        self._token = token
        self._ends_ns = self._clock.monotonic_ns() + max(1, lasts_s - _EARLY_S) * _NS

    def _refused(self, reply: Reply, said: dict[str, Any]) -> DestinationFailed:
        code, why = str(said.get("error", "")), str(said.get("error_description", ""))
        if code in _WRONG or reply.status == UNAUTHORIZED:
            more = hidden(f"{code}: {why}", (*self._server.secrets, *of_query(self._at.url)))[:_LONGEST]
            text = f"{self._at.shown}: the client id or the client secret is not accepted ({more})"
            return DestinationFailed(text, final=True)
        if reply.status == 200:
            return DestinationFailed(f"{self._at.shown}: the server answers, but with no token")
        return self._server.fault(self._at, "POST", reply)


def _read(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
