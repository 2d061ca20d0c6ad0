"""The streamer API as a facade: streams, and whether the server lives."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response

from services.gateway.facades.facade import Facade, Fault, dialect
from services.gateway.facades.flussonic.body import json_object
from services.gateway.facades.flussonic.collection import asked
from services.gateway.facades.flussonic.errors import TRACE, error_answer, trace_of
from services.gateway.facades.flussonic.listing import Listing
from services.gateway.facades.flussonic.login import caller_of, may
from services.gateway.facades.flussonic.streams import Streams
from services.gateway.facades.flussonic.views import StreamViews
from services.gateway.http.parts import part, part_of
from services.gateway.http.readiness import Readiness
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


async def liveness(server: Annotated[Server, Depends(part(Server))]) -> dict[str, Any]:
    """Report that the process runs."""
    return server.probe()


async def readiness(server: Annotated[Server, Depends(part(Server))], request: Request) -> JSONResponse:
    """Report whether the server can do its work."""
    faults, _ = await part_of(request, Readiness).look()
    return JSONResponse(server.probe(), 503 if faults else 200)


async def list_streams(
    request: Request, caller: Reader, listing: Annotated[Listing, Depends(part(Listing))]
) -> JSONResponse:
    """List streams."""
    return JSONResponse(await listing.page(caller, asked(request.query_params.multi_items())))


async def get_stream(caller: Reader, streams: TheStreams, views: Views, name: str) -> JSONResponse:
    """Read a stream."""
    return JSONResponse(await views.whole(caller, *await streams.get(caller.account, name)))


async def put_stream(request: Request, caller: Writer, streams: TheStreams, views: Views, name: str) -> JSONResponse:
    """Make or change a stream."""
    stream, job = await streams.put(caller.account, name, await json_object(request))
    return JSONResponse(await views.whole(caller, stream, job))


async def delete_stream(caller: Writer, streams: TheStreams, name: str) -> Response:
    """Drop a stream."""
    await streams.delete(caller.account, name)
    return Response(status_code=204)


async def stop_stream(caller: Writer, streams: TheStreams, name: str) -> Response:
    """End a stream's job."""
    await streams.stop(caller.account, name)
    return Response(status_code=204)


def _add(method: str, path: str, answer: Callable[..., Any]) -> None:
    FACADE.routes.add_api_route(
        path, answer, methods=[method], include_in_schema=False, response_class=JSONResponse, response_model=None
    )


_add("GET", f"{API}/monitoring/liveness", liveness)
_add("GET", f"{API}/monitoring/readiness", readiness)
_add("GET", f"{API}/streams", list_streams)
_add("POST", f"{API}/streams/{{name:path}}/stop", stop_stream)
_add("GET", f"{API}/streams/{{name:path}}", get_stream)
_add("PUT", f"{API}/streams/{{name:path}}", put_stream)
_add("DELETE", f"{API}/streams/{{name:path}}", delete_stream)
