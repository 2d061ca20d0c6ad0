"""`/{name}/recording_status.json`: ranges and locks, as the old API gives them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Query, Request
from fastapi.responses import JSONResponse

from services.gateway.domain.errors import invalid
from services.gateway.facades.flussonic.dvr import Dvr, range_item
from services.gateway.facades.flussonic.mount import mounted, watched
from services.gateway.http.parts import part


async def recording_status(
    request: Request,
    dvr: Annotated[Dvr, Depends(part(Dvr))],
    name: str,
    start: Annotated[str, Query(alias="from", max_length=12)] = "0",
    to: Annotated[str, Query(max_length=12)] = "now",
    kinds: Annotated[str, Query(alias="request", max_length=100)] = "ranges",
) -> JSONResponse:
    """Return the recorded and the locked ranges in a range of epoch seconds."""
    stream, _ = await watched(request, name)
    end_ms = dvr.delivery.clock.now_ms() if to == "now" else _seconds("to", to) * 1000
    span = _seconds("from", start) * 1000, end_ms
    if span[1] <= span[0]:
        raise invalid("to", "must be after from")
    asked = kinds.split(",")
    made: dict[str, Any] = {"stream": name}
    if "ranges" in asked:
        made["ranges"] = [_old(one) for one in await dvr.ranges(stream, span)]
    if "locks" in asked:
        made["locks"] = [_old(one) for one in await dvr.locked(stream, span)]
    return JSONResponse([made])


def _old(span: tuple[int, int]) -> dict[str, int]:
    item = range_item(span)
    return {"duration": item["duration"], "from": item["from"]}


def _seconds(field: str, text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 11:
        raise invalid(field, "must be seconds since the epoch")
    return int(text)


mounted(r"recording_status\.json", recording_status)
