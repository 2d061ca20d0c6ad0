"""Routes of clips."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from services.gateway.delivery.downloads import Downloads
from services.gateway.domain.clips.clips import Clips, KnownClip
from services.gateway.domain.errors import invalid, no_such
from services.gateway.domain.exports.exports import Exports
from services.gateway.domain.ids import is_id
from services.gateway.domain.jobs.jobs import Jobs
from services.gateway.domain.lists.lists import CLIP_JOB
from services.gateway.domain.lists.orders import Wanted
from services.gateway.domain.lists.pages import Page
from services.gateway.http.bodies import documents, json_body
from services.gateway.http.broker import broker_here
from services.gateway.http.idempotency import id_maker
from services.gateway.http.ids import HexPath
from services.gateway.http.paging import AskedPage
from services.gateway.http.parts import part
from services.gateway.identity.auth import Caller, require
from services.gateway.native.clips.filters import ClipFilter
from services.gateway.native.clips.models import (
    ClipsAsk,
    JobVodCreate,
    VodCreate,
    VodList,
    VodRef,
    VodsCreated,
    VodView,
)
from services.gateway.native.clips.translate import clips_of
from services.gateway.native.clips.view import view

router: Final = APIRouter(prefix="/v1", tags=["vods"], dependencies=[Depends(broker_here)])
Reader = Annotated[Caller, Depends(require("vods:read"))]
Writer = Annotated[Caller, Depends(require("vods:write"))]
TheClips = Annotated[Clips, Depends(part(Clips))]
TheDownloads = Annotated[Downloads, Depends(part(Downloads))]
TheExports = Annotated[Exports, Depends(part(Exports))]


async def _create(request: Request, caller: Caller, clips: Clips, job_id: str, asked: ClipsAsk) -> VodsCreated:
    ids = await id_maker(request, caller.account)
    commands = await clips.create(caller.account, job_id, clips_of(asked, job_id), ids)
    return VodsCreated(vod_jobs=[VodRef(jvod_id=c.clip, label=c.label) for c in commands], live_job_id=job_id)


@router.post("/vods", status_code=201, openapi_extra=documents(VodCreate))
async def create_vods(
    request: Request, caller: Writer, clips: TheClips, asked: Annotated[VodCreate, Depends(json_body(VodCreate))]
) -> VodsCreated:
    """Cut clips from a live job, one per output: first a fast file, then the exact one, which replaces it.

    An output with `ranges`, of this job or of others, is one file of them all: a reel, exact from the start. Each goes
    to a bucket, a server, Video Cloud, a folder or, without a destination, to the library; or to several.
    """
    if not is_id(asked.live_job_id):
        raise no_such("job")
    return await _create(request, caller, clips, asked.live_job_id, asked)


@router.post("/jobs/{job_id}/vods", status_code=201, openapi_extra=documents(JobVodCreate))
async def create_job_vods(
    request: Request,
    caller: Writer,
    clips: TheClips,
    job_id: HexPath,
    asked: Annotated[JobVodCreate, Depends(json_body(JobVodCreate))],
) -> VodsCreated:
    """Cut clips from the job in the path."""
    if asked.live_job_id not in {None, job_id}:
        raise invalid("live_job_id", "is not the job in the path")
    return await _create(request, caller, clips, job_id, asked)


def _shown(downloads: Downloads, page: Page[KnownClip]) -> VodList:
    return VodList(vod_jobs=[view(downloads, known) for known in page.items], next_token=page.next_token)


@router.get("/vods")
async def list_vods(
    caller: Reader,
    clips: TheClips,
    downloads: TheDownloads,
    paging: AskedPage,
    wanted: Annotated[ClipFilter, Depends()],
) -> VodList:
    """List the account's clips."""
    return _shown(downloads, await clips.page(caller.account, wanted.wanted, wanted.takes, paging))


@router.get("/jobs/{job_id}/vods")
async def list_job_vods(
    caller: Reader,
    jobs: Annotated[Jobs, Depends(part(Jobs))],
    clips: TheClips,
    downloads: TheDownloads,
    job_id: HexPath,
    paging: AskedPage,
) -> VodList:
    """List the clips of a job."""
    await jobs.get(caller.account, job_id)
    of_job = Wanted({CLIP_JOB: job_id})
    return _shown(downloads, await clips.page(caller.account, of_job, lambda k: k.request.event == job_id, paging))


@router.get("/vods/{jvod_id}")
async def get_vod(
    caller: Reader, clips: TheClips, downloads: TheDownloads, exports: TheExports, jvod_id: HexPath
) -> VodView:
    """Read a clip."""
    known = await clips.find(caller.account, jvod_id)
    return view(downloads, known, await exports.sent(known))


@router.delete("/vods/{jvod_id}", status_code=204, responses={202: {"description": "It will be, soon"}})
async def delete_vod(caller: Writer, clips: TheClips, jvod_id: HexPath) -> Response:
    """Delete a clip that has ended, and its files; a file that was delivered into the library stays there."""
    done = await clips.delete(caller.account, jvod_id)
    return Response(status_code=204 if done else 202)


@router.delete(
    "/vods/{jvod_id}/destinations/{export_id}", status_code=204, responses={202: {"description": "It will be, soon"}}
)
async def abort_destination(
    caller: Writer, clips: TheClips, exports: TheExports, jvod_id: HexPath, export_id: HexPath
) -> Response:
    """Stop delivering a clip to one of its destinations; what was delivered stays there."""
    done = await exports.abort(await clips.find(caller.account, jvod_id), export_id)
    return Response(status_code=204 if done else 202)


@router.put("/vods/{jvod_id}/cancel", status_code=202)
async def cancel_vod(caller: Writer, clips: TheClips, downloads: TheDownloads, jvod_id: HexPath) -> VodView:
    """Stop the work on a clip; a file that it has already is no longer replaced."""
    return view(downloads, await clips.cancel(caller.account, jvod_id))
