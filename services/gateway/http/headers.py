"""Headers that every answer has. A plain ASGI middleware, so that streamed answers are not touched."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Headers:
    """Types are not guessed; JSON, which may hold keys and addresses, is not cached unless its route says how long.

    What a route has in `always` goes with its answers, refusals included.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and its answer with more headers."""
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
