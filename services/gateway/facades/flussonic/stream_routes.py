"""Streams, and whether the server lives."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.responses import JSONResponse, Response

from services.gateway.facades.flussonic.base import API, Reader, Server, TheStreams, Views, Writer, add
from services.gateway.facades.flussonic.body import json_object
from services.gateway.facades.flussonic.collection import asked
from services.gateway.facades.flussonic.listing import Listing
from services.gateway.http.parts import part, part_of
from services.gateway.http.readiness import Readiness


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


add("GET", f"{API}/monitoring/liveness", liveness)
add("GET", f"{API}/monitoring/readiness", readiness)
add("GET", f"{API}/streams", list_streams)
add("POST", f"{API}/streams/{{name:path}}/stop", stop_stream)
add("GET", f"{API}/streams/{{name:path}}", get_stream)
add("PUT", f"{API}/streams/{{name:path}}", put_stream)
add("DELETE", f"{API}/streams/{{name:path}}", delete_stream)
