"""Limits of request bodies: size and time. A plain ASGI middleware, so that streamed answers are not touched."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.gateway.http.problems import ApiError, answer

LARGEST_BODY: Final = 1 << 20
BODY_WITHIN: Final = timedelta(seconds=30)
_CLOSE: Final = {"Connection": "close"}  # the rest of the body is not read


class BodyLimit:
    """Answers 413 to bodies above `largest` bytes, and 408 to those not complete within `within`.

    Runs inside the middleware that turns ApiError into answers.
    """

    def __init__(self, app: ASGIApp, largest: int = LARGEST_BODY, within: timedelta = BODY_WITHIN) -> None:
        self.app = app
        self.largest = largest
        self.within = within

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request with its body limited."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if not declared.isdigit() or int(declared[:20]) > self.largest:
            await answer(self._too_large())(scope, receive, send)
            return
        await self.app(scope, self._bounded(receive), send)

    def _too_large(self) -> ApiError:
        return ApiError(413, f"the body is larger than {self.largest} bytes", headers=_CLOSE)

    def _bounded(self, receive: Receive) -> Receive:
        taken = 0
        whole = False
        deadline = asyncio.get_running_loop().time() + self.within.total_seconds()

        async def bounded() -> Message:
            nonlocal taken, whole
            if whole:  # what follows is the wait for the client's disconnect, which may take long
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError as error:
                raise ApiError(408, "the body did not arrive in time", headers=_CLOSE) from error
            taken += len(message.get("body", b""))
            if taken > self.largest:
                raise self._too_large()
            whole = not message.get("more_body", False)
            return message

        return bounded
