"""Sends requests to the API that the caller's key speaks, where two APIs share a path ([ADR 28]).

[ADR 28]: docs/adr/0028-dialects.md
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fastapi import Request
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from services.gateway.facades.facade import Facade
from services.gateway.identity.auth import key_of
from shared.messages.keys import Dialect

_SETTLED: Final = "reelay.dialect"
_SHARED: Final = "/v1/"


class DialectRoutes(BaseRoute):
    """The first route of the application: takes what some dialect's routes take, and looks at the key.

    The router matches without waiting, but a key that was made a moment ago is found by asking the broker. So a
    request is taken here, and given back to the router when its key speaks the native API.
    """

    def __init__(self, facades: Mapping[Dialect, Facade], native: ASGIApp) -> None:
        self._facades = facades
        self._native = native

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return whether a dialect has a route for a request that has not been here."""
        if scope["type"] != "http" or _SETTLED in scope or not scope["path"].startswith(_SHARED):
            return Match.NONE, {}
        if any(_route_of(facade, scope) for facade in self._facades.values()):
            return Match.FULL, {}
        return Match.NONE, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request in the dialect of its key, and natively when that has no route for it."""
        record = await key_of(Request(scope))
        scope[_SETTLED] = dialect = record.dialect if record else "native"
        found = _route_of(self._facades[dialect], scope) if dialect in self._facades else None
        if found is None:
            await self._native(scope, receive, send)
            return
        route, matched = found
        scope.update(matched)
        await route.handle(scope, receive, send)


def _route_of(facade: Facade, scope: Scope) -> tuple[BaseRoute, Scope] | None:
    """Return the route that takes a request, and what it matched. A slash at the path's end changes nothing."""
    scope = {**scope, "path": scope["path"].removesuffix("/")}
    for route in facade.routes.routes:
        match, matched = route.matches(scope)
        if match is Match.FULL:
            return route, matched
    return None
