"""DVR exports, in both generations of the API."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from fastapi.responses import JSONResponse, Response

from services.gateway.domain.errors import Fault, Invalid, invalid
from services.gateway.facades.flussonic.base import API, add
from services.gateway.facades.flussonic.body import json_object, read
from services.gateway.facades.flussonic.collection import asked, page
from services.gateway.facades.flussonic.errors import trace_of
from services.gateway.facades.flussonic.export_models import ExportAsk, OldExportAsk, known_id, new_id
from services.gateway.facades.flussonic.exports import DvrExports
from services.gateway.facades.flussonic.login import may
from services.gateway.http.parts import part
from services.gateway.identity.auth import Caller

Reader = Annotated[Caller, Depends(may("vods:read", "vods:write"))]
Writer = Annotated[Caller, Depends(may("vods:write"))]
TheExports = Annotated[DvrExports, Depends(part(DvrExports))]


async def put_export(request: Request, caller: Writer, exports: TheExports, export: str) -> JSONResponse:
    """Start an export."""
    clip = new_id(export)
    body = read(ExportAsk, await json_object(request)).checked()
    if body.id and new_id(body.id) != clip:
        raise invalid("/id", "is not the one in the address")
    return JSONResponse(await exports.put(caller.account, clip, body, trace_of(request)))


async def get_export(caller: Reader, exports: TheExports, export: str) -> JSONResponse:
    """Read an export."""
    return JSONResponse(await exports.get(caller.account, known_id(export)))


async def list_exports(request: Request, caller: Reader, exports: TheExports) -> JSONResponse:
    """List exports."""
    query = asked(request.query_params.multi_items(), "id")
    return JSONResponse(page(await exports.all_of(caller.account), query, "jobs"))


async def cancel_export(caller: Writer, exports: TheExports, export: str) -> Response:
    """Cancel an export."""
    await exports.cancel(caller.account, known_id(export))
    return Response(status_code=204)


async def old_export(request: Request, caller: Writer, exports: TheExports, name: str) -> Response:
    """Start an export as its query says."""
    try:
        body = read(OldExportAsk, dict(request.query_params))
        new = read(ExportAsk, body.in_ms(name)).checked()
        await exports.begin(caller.account, new, trace_of(request))
    except Invalid as error:  # its fields are parameters, not pointers
        faults = (Fault(fault.field.lstrip("/"), fault.why) for fault in error.faults)
        raise Invalid(*faults, code=error.code) from error
    return Response(status_code=204)


add("GET", f"{API}/dvr_export_jobs", list_exports)
add("PUT", f"{API}/dvr_export_jobs/{{export}}", put_export)
add("GET", f"{API}/dvr_export_jobs/{{export}}", get_export)
add("DELETE", f"{API}/dvr_export_jobs/{{export}}", cancel_export)
add("POST", f"{API}/streams/{{name:path}}/dvr/export", old_export)
