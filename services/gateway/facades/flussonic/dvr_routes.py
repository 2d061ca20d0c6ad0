"""Ranges and locks of the streamer API, and the calls of its predecessor that panels still use."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import Depends, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field

from services.gateway.domain.errors import invalid
from services.gateway.facades.flussonic.base import API, TheStreams, Writer, add
from services.gateway.facades.flussonic.body import json_object, read
from services.gateway.facades.flussonic.collection import asked, page
from services.gateway.facades.flussonic.dvr import Dvr, RangeBody, items, range_item
from services.gateway.facades.flussonic.login import may
from services.gateway.http.parts import part
from services.gateway.identity.auth import Caller

MOST_RANGES: Final = 100
Watcher = Annotated[Caller, Depends(may("jobs:read", "playback"))]
TheDvr = Annotated[Dvr, Depends(part(Dvr))]


class OldLock(BaseModel):
    """The body of the old call."""

    stream: str = Field(max_length=512)


async def list_ranges(request: Request, caller: Watcher, streams: TheStreams, dvr: TheDvr, name: str) -> JSONResponse:
    """List what was recorded."""
    query = asked(request.query_params.multi_items(), "opened_at")
    found = await dvr.ranges(await streams.find(caller.account, name))
    return JSONResponse(page(items(found), query, "ranges"))


async def erase_ranges(request: Request, caller: Writer, streams: TheStreams, dvr: TheDvr, name: str) -> Response:
    """Delete ranges of the recording."""
    stream = await streams.find(caller.account, name)
    for body in _ranges(await json_object(request), "ranges"):
        await dvr.erase(stream, body.span())
    return Response(status_code=204)


async def list_locks(request: Request, caller: Watcher, streams: TheStreams, dvr: TheDvr, name: str) -> JSONResponse:
    """List what is locked."""
    query = asked(request.query_params.multi_items(), "opened_at")
    found = await dvr.locked(await streams.find(caller.account, name))
    return JSONResponse(page(items(found), query, "locks"))


async def add_lock(request: Request, caller: Writer, streams: TheStreams, dvr: TheDvr, name: str) -> JSONResponse:
    """Lock a range."""
    span = read(RangeBody, await json_object(request)).span()
    await dvr.lock(await streams.find(caller.account, name), span)
    return JSONResponse(range_item(span))


async def remove_locks(request: Request, caller: Writer, streams: TheStreams, dvr: TheDvr, name: str) -> Response:
    """Unlock ranges."""
    stream = await streams.find(caller.account, name)
    for body in _ranges(await json_object(request), "locks"):
        await dvr.unlock(stream, body.span())
    return Response(status_code=204)


async def old_lock(request: Request, caller: Writer, streams: TheStreams, dvr: TheDvr) -> JSONResponse:
    """Lock a range: `{"stream", "from", "duration"}`."""
    body = await json_object(request)
    stream = await streams.find(caller.account, read(OldLock, body).stream)
    await dvr.lock(stream, read(RangeBody, body).span())
    return JSONResponse({"success": True})


async def old_unlock(request: Request, caller: Writer, streams: TheStreams, dvr: TheDvr) -> JSONResponse:
    """Unlock a range: `{"stream", "from", "duration"}`."""
    body = await json_object(request)
    stream = await streams.find(caller.account, read(OldLock, body).stream)
    await dvr.unlock(stream, read(RangeBody, body).span())
    return JSONResponse({"success": True})


def _ranges(body: dict[str, Any], plural: str) -> list[RangeBody]:
    """Return a body's ranges: one, or a list as GET gives it."""
    given = body.get(plural, [body])
    if not isinstance(given, list) or not 1 <= len(given) <= MOST_RANGES:
        raise invalid(f"/{plural}", f"must be a list of 1 to {MOST_RANGES} ranges")
    return [read(RangeBody, one) for one in given]


add("GET", f"{API}/streams/{{name:path}}/dvr/ranges", list_ranges)
add("DELETE", f"{API}/streams/{{name:path}}/dvr/ranges", erase_ranges)
add("GET", f"{API}/streams/{{name:path}}/dvr/locks", list_locks)
add("POST", f"{API}/streams/{{name:path}}/dvr/locks", add_lock)
add("DELETE", f"{API}/streams/{{name:path}}/dvr/locks", remove_locks)
add("POST", "/flussonic/api/dvr/lock", old_lock)
add("POST", "/flussonic/api/dvr/unlock", old_unlock)
