"""The streamer API as a facade, and what its routes share."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response

from services.gateway.facades.facade import Facade, Fault, dialect
from services.gateway.facades.flussonic.errors import TRACE, error_answer, trace_of
from services.gateway.facades.flussonic.login import caller_of, may
from services.gateway.facades.flussonic.streams import Streams
from services.gateway.facades.flussonic.views import StreamViews
from services.gateway.http.parts import part
from services.gateway.identity.auth import Caller
from shared.runtime.clock import Clock

API: Final = "/streamer/api/v3"


class Server:
    """What the probes say of this instance."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._started_ms = clock.now_ms()
        try:
            self._version = version("reelay")
        except PackageNotFoundError:
            self._version = "0"

    def probe(self) -> dict[str, Any]:
        """Return the body of a probe: now in ms, started_at in s, as the vendor's servers say them."""
        return {
            "now": self._clock.now_ms(), "server_version": self._version, "started_at": self._started_ms // 1000,
        }  # fmt: skip


class Flussonic:
    """Logins are API keys; errors have the vendor's form; every answer repeats X-Trace-Id."""

    def __init__(self) -> None:
        self.routes = APIRouter(route_class=traced(dialect(self.render_error)))

    async def authenticate(self, request: Request) -> str:
        """Return the account of a request. Raise ApiError (401), Denied, Unavailable."""
        return (await caller_of(request, "jobs:read")).account

    def render_error(self, request: Request, error: Fault) -> JSONResponse:
        """Return an error in the form of the API."""
        return error_answer(request, error)


def traced(kind: type[Any]) -> type[Any]:
    """Make the class of routes whose answers carry X-Trace-Id."""

    class TracedRoute(kind):  # type: ignore[misc]  # a class that is made
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def handled(request: Request) -> Response:
                answer: Response = await handle(request)
                answer.headers[TRACE] = trace_of(request)
                return answer

            return handled

    return TracedRoute


FACADE: Final = Flussonic()
_checked: Facade = FACADE
Reader = Annotated[Caller, Depends(may("jobs:read"))]
Writer = Annotated[Caller, Depends(may("jobs:write"))]
TheStreams = Annotated[Streams, Depends(part(Streams))]
Views = Annotated[StreamViews, Depends(part(StreamViews))]


def add(method: str, path: str, answer: Callable[..., Any]) -> None:
    """Add a route of the facade."""
    FACADE.routes.add_api_route(
        path, answer, methods=[method], include_in_schema=False, response_class=JSONResponse, response_model=None
    )
