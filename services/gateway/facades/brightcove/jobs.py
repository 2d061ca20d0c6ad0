"""Routes of live jobs."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request

from services.gateway.domain.clips.ordered import OrderedClips
from services.gateway.domain.jobs.jobs import Jobs
from services.gateway.facades.brightcove.errors import render
from services.gateway.facades.brightcove.filters import AskedListing, JobFilter
from services.gateway.facades.brightcove.models import JobAsk
from services.gateway.facades.brightcove.translate import FORM, job_of, ordered_clips
from services.gateway.facades.brightcove.view import Body, Views
from services.gateway.facades.facade import dialect
from services.gateway.http.bodies import json_body
from services.gateway.http.broker import broker_here
from services.gateway.http.idempotency import id_maker
from services.gateway.http.ids import HexPath
from services.gateway.http.parts import part
from services.gateway.http.receivers import receivers_of
from services.gateway.identity.auth import Caller, require

router: Final = APIRouter(prefix="/v1/jobs", dependencies=[Depends(broker_here)], route_class=dialect(render))
Reader = Annotated[Caller, Depends(require("jobs:read"))]
Writer = Annotated[Caller, Depends(require("jobs:write"))]
TheJobs = Annotated[Jobs, Depends(part(Jobs))]
TheViews = Annotated[Views, Depends(part(Views))]
Orders = Annotated[OrderedClips, Depends(part(OrderedClips))]


@router.post("")
async def create_job(
    request: Request,
    caller: Writer,
    orders: Orders,
    views: TheViews,
    asked: Annotated[JobAsk, Depends(json_body(JobAsk))],
) -> Body:
    """Make a live job, with the clips among its outputs."""
    ordered = ordered_clips(asked.clips())
    if ordered:
        caller.needs("vods:write")
    ids = await id_maker(request, caller.account)
    told = receivers_of("", asked.notifications, FORM)
    job, clips = await orders.create(caller.account, job_of(asked), ordered, told, ids)
    return views.created(job, asked.outputs, clips)


@router.get("")
async def list_jobs(
    caller: Reader,
    jobs: TheJobs,
    views: TheViews,
    asked: Annotated[AskedListing, Depends()],
    which: Annotated[JobFilter, Depends()],
) -> Body:
    """List the account's live jobs."""
    shown: list[Body] = []
    token = None
    if which.includes(caller.account):
        page = await jobs.list.page(caller.account, which.wanted(asked), asked.paging)
        shown, token = [views.job(caller, job) for job in page.items], page.next_token
    return {"jobs": shown, "next_token": token, "start_token": asked.start_token}


@router.get("/{job_id}")
async def get_job(caller: Reader, jobs: TheJobs, views: TheViews, job_id: HexPath) -> Body:
    """Read a live job."""
    job = await jobs.get(caller.account, job_id)
    return {"job": views.job(caller, job, await jobs.publishers.of(caller.account, job_id))}


@router.put("/{job_id}/stop")
async def stop_job(caller: Writer, jobs: TheJobs, job_id: HexPath) -> Body:
    """Finish a live job; its pending clips are still made."""
    return {"id": (await jobs.stop(caller.account, job_id)).event}


@router.put("/{job_id}/cancel")
async def cancel_job(caller: Writer, jobs: TheJobs, job_id: HexPath) -> Body:
    """Cancel a live job."""
    return {"id": (await jobs.cancel(caller.account, job_id)).event}


@router.put("/{job_id}/activate")
async def activate_job(caller: Writer, orders: Orders, job_id: HexPath) -> Body:
    """Activate a static entry point."""
    return {"id": (await orders.activate(caller.account, job_id)).event}


@router.put("/{job_id}/deactivate")
async def deactivate_job(caller: Writer, jobs: TheJobs, job_id: HexPath) -> Body:
    """Deactivate a static entry point."""
    return {"id": (await jobs.deactivate(caller.account, job_id)).event}
