"""Routes of RTMP outputs: a live job sent on to other platforms."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request

from services.gateway.domain.restreams.outputs import Outputs
from services.gateway.facades.brightcove.errors import render
from services.gateway.facades.brightcove.models import RtmpOutAsk
from services.gateway.facades.brightcove.output_view import OutputViews
from services.gateway.facades.brightcove.view import Body
from services.gateway.facades.facade import dialect
from services.gateway.http.bodies import json_body
from services.gateway.http.broker import broker_here
from services.gateway.http.idempotency import id_maker
from services.gateway.http.ids import HexPath
from services.gateway.http.parts import part
from services.gateway.identity.auth import Caller, require

router: Final = APIRouter(prefix="/v1/jobs", dependencies=[Depends(broker_here)], route_class=dialect(render))
Reader = Annotated[Caller, Depends(require("jobs:read"))]
Writer = Annotated[Caller, Depends(require("jobs:write"))]
TheOutputs = Annotated[Outputs, Depends(part(Outputs))]
TheViews = Annotated[OutputViews, Depends(part(OutputViews))]


@router.post("/{job_id}/rtmpouts")
async def create_rtmpout(
    request: Request,
    caller: Writer,
    outputs: TheOutputs,
    views: TheViews,
    job_id: HexPath,
    asked: Annotated[RtmpOutAsk, Depends(json_body(RtmpOutAsk))],
) -> Body:
    """Send a live job on to a target."""
    ids = await id_maker(request, caller.account)
    label = asked.label or asked.output_label or ""
    made = await outputs.create(caller.account, job_id, asked.url, label, ids)
    return views.output(made, await outputs.jobs.get(caller.account, job_id))


@router.get("/{job_id}/rtmpouts")
async def list_rtmpouts(caller: Reader, outputs: TheOutputs, views: TheViews, job_id: HexPath) -> list[Body]:
    """List the outputs of a live job."""
    job = await outputs.jobs.get(caller.account, job_id)
    return [views.output(known, job) for known in await outputs.of(caller.account, job_id)]


@router.put("/{job_id}/rtmpouts/{output_id}/stop")
async def stop_rtmpout(
    request: Request, caller: Writer, outputs: TheOutputs, job_id: HexPath, output_id: HexPath
) -> Body:
    """End an output."""
    command = (await id_maker(request, caller.account))(0)
    await outputs.stop(caller.account, job_id, output_id, command)
    return {"message": f"RTMP out {output_id} deleted successfully"}
