"""Routes of clips."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from services.gateway.deps import Deps
from services.gateway.domain.clips.clips import ENDED, Known
from services.gateway.domain.lists.lists import CLIP_JOB
from services.gateway.domain.lists.orders import Wanted
from services.gateway.http.bodies import documents, json_body
from services.gateway.http.broker import broker_here
from services.gateway.http.idempotency import id_maker
from services.gateway.http.ids import HexPath, is_id
from services.gateway.http.paging import Page, Paging
from services.gateway.http.problems import ApiError, bad_field, not_found
from services.gateway.identity.auth import Caller, deps_of, require
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
from services.gateway.native.clips.view import view
from shared.messages.clips import ClipCancel

router: Final = APIRouter(prefix="/v1", tags=["vods"], dependencies=[Depends(broker_here)])
Reader = Annotated[Caller, Depends(require("vods:read"))]
Writer = Annotated[Caller, Depends(require("vods:write"))]


async def _create(request: Request, caller: Caller, job_id: str, asked: ClipsAsk) -> VodsCreated:
    ids = await id_maker(request, caller.account)
    commands = await deps_of(request).clips.create(caller.account, job_id, asked, ids)
    return VodsCreated(vod_jobs=[VodRef(jvod_id=c.clip, label=c.label) for c in commands], live_job_id=job_id)


@router.post("/vods", status_code=201, openapi_extra=documents(VodCreate))
async def create_vods(
    request: Request, caller: Writer, asked: Annotated[VodCreate, Depends(json_body(VodCreate))]
) -> VodsCreated:
    """Cut clips from a live job, an output each: first a fast file, then the exact one in its place."""
    if not is_id(asked.live_job_id):
        raise not_found("job")
    return await _create(request, caller, asked.live_job_id, asked)


@router.post("/jobs/{job_id}/vods", status_code=201, openapi_extra=documents(JobVodCreate))
async def create_job_vods(
    request: Request,
    caller: Writer,
    job_id: HexPath,
    asked: Annotated[JobVodCreate, Depends(json_body(JobVodCreate))],
) -> VodsCreated:
    """Cut clips from the job in the path."""
    if asked.live_job_id not in {None, job_id}:
        raise bad_field("live_job_id", "is not the job in the path")
    return await _create(request, caller, job_id, asked)


def _shown(deps: Deps, page: Page[Known]) -> VodList:
    return VodList(vod_jobs=[view(deps, known) for known in page.items], next_token=page.next_token)


@router.get("/vods")
async def list_vods(
    request: Request,
    caller: Reader,
    paging: Annotated[Paging, Depends()],
    wanted: Annotated[ClipFilter, Depends()],
) -> VodList:
    """List the account's clips."""
    deps = deps_of(request)
    return _shown(deps, await deps.clips.page(caller.account, wanted.wanted, wanted.takes, paging))


@router.get("/jobs/{job_id}/vods")
async def list_job_vods(
    request: Request, caller: Reader, job_id: HexPath, paging: Annotated[Paging, Depends()]
) -> VodList:
    """List the clips of a job."""
    deps = deps_of(request)
    await deps.jobs.get(caller.account, job_id)
    of_job = Wanted({CLIP_JOB: job_id})
    return _shown(deps, await deps.clips.page(caller.account, of_job, lambda k: k.request.event == job_id, paging))


@router.get("/vods/{jvod_id}")
async def get_vod(request: Request, caller: Reader, jvod_id: HexPath) -> VodView:
    """Read a clip."""
    deps = deps_of(request)
    return view(deps, await deps.clips.find(caller.account, jvod_id))


@router.delete("/vods/{jvod_id}", status_code=204, responses={202: {"description": "It will be, soon"}})
async def delete_vod(request: Request, caller: Writer, jvod_id: HexPath) -> Response:
    """Delete a clip that has ended, and its files; what was delivered into the library stays there."""
    done = await deps_of(request).clips.delete(caller.account, jvod_id)
    return Response(status_code=204 if done else 202)


@router.put("/vods/{jvod_id}/cancel", status_code=202)
async def cancel_vod(request: Request, caller: Writer, jvod_id: HexPath) -> VodView:
    """Stop the work on a clip; what it had is no longer replaced."""
    deps = deps_of(request)
    known = await deps.clips.find(caller.account, jvod_id)
    if known.state in ENDED - {"cancelled"}:
        raise ApiError(409, f"the clip is {known.state}")
    if known.state != "cancelled":
        now = deps.clock.now_ms()
        await deps.outbox.emit(ClipCancel(account=caller.account, clip=jvod_id, at_ms=now))
    return view(deps, await deps.clips.find(caller.account, jvod_id))
