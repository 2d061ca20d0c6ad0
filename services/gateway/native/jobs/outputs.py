"""Outputs of a live job to RTMP, RTMPS and SRT targets."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field

from services.gateway.domain.restreams.outputs import Outputs, state_of, target_status
from services.gateway.domain.restreams.restreams import KnownRestream
from services.gateway.http.bodies import documents, json_body
from services.gateway.http.broker import broker_here
from services.gateway.http.idempotency import id_maker
from services.gateway.http.ids import HexPath
from services.gateway.http.parts import part
from services.gateway.identity.auth import Caller, require
from shared.messages.outputs import OutputState

router: Final = APIRouter(prefix="/v1/jobs", tags=["jobs"], dependencies=[Depends(broker_here)])
Reader = Annotated[Caller, Depends(require("jobs:read"))]
Writer = Annotated[Caller, Depends(require("jobs:write"))]
TheOutputs = Annotated[Outputs, Depends(part(Outputs))]


class RtmpOutCreate(BaseModel):
    """A target to send a live job to."""

    url: str = Field(
        min_length=1, max_length=2048, description="rtmp(s)://host/application/stream, or srt://host:port?streamid=..."
    )
    label: str = Field("", max_length=256)


class RtmpOutView(BaseModel):
    """An output of a live job. Times are ms since the epoch."""

    rtmp_out_id: str
    job_id: str
    label: str
    url: str = Field(description="Without stream key, password and query")
    state: OutputState
    error: str = Field("", description="Why it is not connected, or has ended")
    connects: int = Field(description="How often it was connected")
    sent_bytes: int = Field(description="Over all connections of the present holder")
    created_at: int
    stream_start: int | None = Field(None, description="When media was first sent")
    finished_at: int | None = None


class RtmpOutList(BaseModel):
    """The outputs of a live job, the oldest first."""

    rtmp_outs: list[RtmpOutView]


def view(known: KnownRestream) -> RtmpOutView:
    """Return an output as clients see it."""
    record, status = known.record, target_status(known)
    output = record.spec.output
    state = state_of(known)
    wrong = status.error if status and state in {"disconnected", "error", "starting"} else ""
    return RtmpOutView(
        rtmp_out_id=record.restream,
        job_id=output.job if output else "",
        label=output.label if output else "",
        url=record.spec.targets[0].shown,
        state=state,
        error=wrong or (record.reason if state == "error" else ""),
        connects=status.connects if status else 0,
        sent_bytes=status.sent_bytes if status else 0,
        created_at=record.created_ms,
        stream_start=record.started_ms,
        finished_at=record.finished_ms,
    )


@router.post("/{job_id}/rtmpouts", status_code=201, openapi_extra=documents(RtmpOutCreate))
async def create_rtmpout(
    request: Request,
    caller: Writer,
    outputs: TheOutputs,
    job_id: HexPath,
    asked: Annotated[RtmpOutCreate, Depends(json_body(RtmpOutCreate))],
) -> RtmpOutView:
    """Send a live job on to a target, from now or from the beginning of its stream until it ends."""
    ids = await id_maker(request, caller.account)
    return view(await outputs.create(caller.account, job_id, asked.url, asked.label, ids))


@router.get("/{job_id}/rtmpouts")
async def list_rtmpouts(caller: Reader, outputs: TheOutputs, job_id: HexPath) -> RtmpOutList:
    """List the outputs of a live job, with the state of each."""
    return RtmpOutList(rtmp_outs=[view(known) for known in await outputs.of(caller.account, job_id)])


@router.put("/{job_id}/rtmpouts/{output_id}/stop")
async def stop_rtmpout(
    request: Request, caller: Writer, outputs: TheOutputs, job_id: HexPath, output_id: HexPath
) -> RtmpOutView:
    """End an output; the job goes on."""
    command = (await id_maker(request, caller.account))(0)
    return view(await outputs.stop(caller.account, job_id, output_id, command))
