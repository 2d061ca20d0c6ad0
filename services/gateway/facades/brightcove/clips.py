"""Routes of VOD clips."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request

from services.gateway.domain.clips.clips import Clips
from services.gateway.domain.errors import invalid, no_such
from services.gateway.domain.ids import is_id
from services.gateway.domain.jobs.jobs import Jobs
from services.gateway.facades.brightcove.errors import render
from services.gateway.facades.brightcove.filters import AskedListing, ClipFilter, takes
from services.gateway.facades.brightcove.models import ClipsAsk
from services.gateway.facades.brightcove.translate import clips_of
from services.gateway.facades.brightcove.view import Body, Views
from services.gateway.facades.facade import dialect
from services.gateway.http.bodies import json_body
from services.gateway.http.broker import broker_here
from services.gateway.http.idempotency import id_maker
from services.gateway.http.ids import HexPath
from services.gateway.http.parts import part
from services.gateway.identity.auth import Caller, require

router: Final = APIRouter(prefix="/v1", dependencies=[Depends(broker_here)], route_class=dialect(render))
Reader = Annotated[Caller, Depends(require("vods:read"))]
Writer = Annotated[Caller, Depends(require("vods:write"))]
TheClips = Annotated[Clips, Depends(part(Clips))]
TheViews = Annotated[Views, Depends(part(Views))]
Listing = Annotated[AskedListing, Depends()]
Which = Annotated[ClipFilter, Depends()]
Asked = Annotated[ClipsAsk, Depends(json_body(ClipsAsk))]


async def _create(request: Request, caller: Caller, clips: Clips, job_id: str, asked: ClipsAsk) -> Body:
    ids = await id_maker(request, caller.account)
    commands = await clips.create(caller.account, job_id, clips_of(asked), ids)
    return {"vod_jobs": [{"jvod_id": c.clip, "label": c.label} for c in commands], "live_job_id": job_id}


@router.post("/vods")
async def create_vods(request: Request, caller: Writer, clips: TheClips, asked: Asked) -> Body:
    """Cut clips from a live job, one per output."""
    if not asked.live_job_id:
        raise invalid("live_job_id", "is missing")
    if not is_id(asked.live_job_id):
        raise no_such("job")
    return await _create(request, caller, clips, asked.live_job_id, asked)


@router.post("/jobs/{job_id}/vods")
async def create_job_vods(request: Request, caller: Writer, clips: TheClips, job_id: HexPath, asked: Asked) -> Body:
    """Cut clips from the job in the path."""
    if asked.live_job_id not in {None, job_id}:
        raise invalid("live_job_id", "is not the job in the path")
    return await _create(request, caller, clips, job_id, asked)


@router.get("/vods")
async def list_vods(caller: Reader, clips: TheClips, views: TheViews, asked: Listing, which: Which) -> Body:
    """List the account's clips."""
    return await _list(caller, clips, views, asked, which)


@router.get("/jobs/{job_id}/vods")
async def list_job_vods(
    request: Request, caller: Reader, clips: TheClips, views: TheViews, job_id: HexPath, asked: Listing, which: Which
) -> Body:
    """List the clips of a job."""
    await (await part(Jobs)(request)).get(caller.account, job_id)
    return await _list(caller, clips, views, asked, which, job_id)


async def _list(
    caller: Caller, clips: Clips, views: Views, asked: AskedListing, which: ClipFilter, job_id: str | None = None
) -> Body:
    shown: list[Body] = []
    token = None
    if which.includes(caller.account):
        wanted = which.wanted(asked, job_id)
        page = await clips.page(caller.account, wanted, partial(takes, wanted), asked.paging)
        shown, token = [views.clip(known) for known in page.items], page.next_token
    return {"vod_jobs": shown, "next_token": token, "start_token": asked.start_token}


@router.get("/vods/{jvod_id}")
async def get_vod(caller: Reader, clips: TheClips, views: TheViews, jvod_id: HexPath) -> Body:
    """Read a clip."""
    return views.clip(await clips.find(caller.account, jvod_id))


@router.put("/vods/{jvod_id}/cancel")
async def cancel_vod(caller: Writer, clips: TheClips, views: TheViews, jvod_id: HexPath) -> Body:
    """Stop the work on a clip; theirs has no such call."""
    return views.clip(await clips.cancel(caller.account, jvod_id))
