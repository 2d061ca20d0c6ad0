"""Event sinks."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from fastapi.responses import JSONResponse, Response

from services.gateway.facades.flussonic.base import API, add
from services.gateway.facades.flussonic.body import json_object
from services.gateway.facades.flussonic.collection import asked, page
from services.gateway.facades.flussonic.login import may
from services.gateway.facades.flussonic.sinks import EVENTS, Sinks
from services.gateway.http.parts import part
from services.gateway.identity.auth import Caller

Allowed = Annotated[Caller, Depends(may("webhooks"))]
TheSinks = Annotated[Sinks, Depends(part(Sinks))]


async def list_sinks(request: Request, caller: Allowed, sinks: TheSinks) -> JSONResponse:
    """List sinks."""
    query = asked(request.query_params.multi_items())
    return JSONResponse(page(await sinks.all_of(caller.account), query, "event_sinks"))


async def put_sink(request: Request, caller: Allowed, sinks: TheSinks, name: str) -> JSONResponse:
    """Make or change a sink."""
    return JSONResponse(await sinks.put(caller.account, name, await json_object(request)))


async def get_sink(caller: Allowed, sinks: TheSinks, name: str) -> JSONResponse:
    """Read a sink."""
    return JSONResponse(await sinks.get(caller.account, name))


async def list_events(request: Request, caller: Allowed, sinks: TheSinks, name: str) -> JSONResponse:
    """List the events that there are for a sink."""
    await sinks.get(caller.account, name)
    query = asked(request.query_params.multi_items(), "event")
    return JSONResponse(page([{"event": event} for event in EVENTS], query, "events"))


async def delete_sink(caller: Allowed, sinks: TheSinks, name: str) -> Response:
    """Remove a sink."""
    await sinks.delete(caller.account, name)
    return Response(status_code=204)


add("GET", f"{API}/event_sinks", list_sinks)
add("GET", f"{API}/event_sinks/{{name}}", get_sink)
add("PUT", f"{API}/event_sinks/{{name}}", put_sink)
add("DELETE", f"{API}/event_sinks/{{name}}", delete_sink)
add("GET", f"{API}/event_sinks/{{name}}/events", list_events)
