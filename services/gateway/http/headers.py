"""Adds the headers that every answer has. A plain ASGI middleware, so that streamed answers are not touched."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Headers:
    """Forbids guessing of types, and caching of JSON, which may hold keys and addresses, unless its route allows it.

    The headers in a route's `always` are added to its answers, errors included.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request, and add headers to its answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Content-Type-Options"] = "nosniff"
                if "json" in headers.get("content-type", ""):
                    headers.setdefault("Cache-Control", "no-store")
                always: Mapping[str, str] = getattr(scope.get("route"), "always", {})
                headers.update(always)
            await send(message)

        await self.app(scope, receive, sent)
