"""Routes of live jobs."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from services.gateway.domain.clips.ordered import OrderedClips
from services.gateway.domain.errors import invalid
from services.gateway.domain.jobs.jobs import Jobs
from services.gateway.domain.lists.lists import JOB_STATE
from services.gateway.domain.lists.orders import Wanted
from services.gateway.domain.recordings import Recordings
from services.gateway.http.bodies import documents, json_body
from services.gateway.http.broker import broker_here
from services.gateway.http.idempotency import id_maker
from services.gateway.http.ids import HexPath
from services.gateway.http.paging import AskedPage
from services.gateway.http.parts import part
from services.gateway.http.receivers import receivers_of
from services.gateway.identity.auth import Caller, require
from services.gateway.native.clips.translate import ordered_clips
from services.gateway.native.jobs.models import JobCreate, JobCreated, JobList, JobView
from services.gateway.native.jobs.view import JobViews
from shared.messages.live import JobState

router: Final = APIRouter(prefix="/v1/jobs", tags=["jobs"], dependencies=[Depends(broker_here)])
Reader = Annotated[Caller, Depends(require("jobs:read"))]
Writer = Annotated[Caller, Depends(require("jobs:write"))]
TheJobs = Annotated[Jobs, Depends(part(Jobs))]
TheRecordings = Annotated[Recordings, Depends(part(Recordings))]
Views = Annotated[JobViews, Depends(part(JobViews))]
Orders = Annotated[OrderedClips, Depends(part(OrderedClips))]


@router.post("", status_code=201, openapi_extra=documents(JobCreate))
async def create_job(
    request: Request,
    caller: Writer,
    orders: Orders,
    views: Views,
    asked: Annotated[JobCreate, Depends(json_body(JobCreate))],
) -> JobCreated | JobView:
    """Make a live job, with clips that are made when it has ended: an encoder can publish to it at once."""
    ordered = ordered_clips(asked.clips())
    if ordered:
        caller.needs("vods:write")
    ids = await id_maker(request, caller.account)
    told = receivers_of("", asked.notifications)
    job, clips = await orders.create(caller.account, asked.to_new_job(), ordered, told, ids)
    return await views.created(caller, job, clips)


@router.get("")
async def list_jobs(
    caller: Reader, jobs: TheJobs, views: Views, paging: AskedPage, state: JobState | None = None
) -> JobList:
    """List the account's live jobs."""
    page = await jobs.list.page(caller.account, Wanted({JOB_STATE: state} if state else {}), paging)
    return JobList(jobs=[views.brief(caller, job) for job in page.items], next_token=page.next_token)


@router.get("/{job_id}")
async def get_job(caller: Reader, jobs: TheJobs, views: Views, job_id: HexPath) -> JobView:
    """Read a live job and the values of its publishers."""
    return await views.whole(caller, await jobs.get(caller.account, job_id))


@router.put("/{job_id}/stop")
async def stop_job(caller: Writer, jobs: TheJobs, views: Views, job_id: HexPath) -> JobView:
    """Finish a live job: its encoder is disconnected, its recording is kept."""
    return await views.whole(caller, await jobs.stop(caller.account, job_id))


@router.put("/{job_id}/cancel")
async def cancel_job(caller: Writer, jobs: TheJobs, views: Views, job_id: HexPath) -> JobView:
    """Cancel a live job."""
    return await views.whole(caller, await jobs.cancel(caller.account, job_id))


@router.put("/{job_id}/activate")
async def activate_job(caller: Writer, orders: Orders, views: Views, job_id: HexPath) -> JobView:
    """Let the encoder of a static entry point in, for a new stream; clips of the one before can be made no more."""
    return await views.whole(caller, await orders.activate(caller.account, job_id))


@router.put("/{job_id}/deactivate")
async def deactivate_job(caller: Writer, jobs: TheJobs, views: Views, job_id: HexPath) -> JobView:
    """Let no encoder into a static entry point until it is activated again; the one that is there is disconnected."""
    return await views.whole(caller, await jobs.deactivate(caller.account, job_id))


@router.delete("/{job_id}", status_code=204)
async def delete_job(caller: Writer, recordings: TheRecordings, job_id: HexPath) -> None:
    """Delete a job that has ended, with its recording; its clips stay."""
    await recordings.delete_job(caller.account, job_id)


@router.delete("/{job_id}/recording", status_code=202, response_class=Response)
async def delete_recording(
    caller: Writer,
    recordings: TheRecordings,
    job_id: HexPath,
    start: Annotated[int | None, Query(alias="from", ge=0, le=10**15, description="ms since the epoch")] = None,
    end: Annotated[int | None, Query(alias="to", ge=0, le=10**15, description="ms since the epoch")] = None,
) -> Response:
    """Delete the segments that lie wholly in a range of a recording; without `from` and `to`, all of an ended job's."""
    if start is not None and end is not None and start >= end:
        raise invalid("to", "must be after from")
    await recordings.delete(caller.account, job_id, start, end)
    return Response(status_code=202)
