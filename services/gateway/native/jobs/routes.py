"""Routes of live jobs."""

from __future__ import annotations

from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from services.gateway.delivery import playback_url
from services.gateway.deps import Deps
from services.gateway.domain.lists.lists import JOB_STATE
from services.gateway.domain.lists.orders import Wanted
from services.gateway.http.bodies import documents, json_body
from services.gateway.http.broker import broker_here
from services.gateway.http.idempotency import id_maker
from services.gateway.http.ids import HexPath
from services.gateway.http.paging import Paging
from services.gateway.http.problems import ApiError, bad_field
from services.gateway.identity.auth import Caller, deps_of, require
from services.gateway.native.jobs.models import JobCreate, JobList, JobView, StateEntry
from shared.logging import get_logger
from shared.messages.jobs import JobRecord
from shared.messages.live import JobState
from shared.reachable import in_url
from shared.secrets import SecretUnreadable

log = get_logger()
router: Final = APIRouter(prefix="/v1/jobs", tags=["jobs"], dependencies=[Depends(broker_here)])
Reader = Annotated[Caller, Depends(require("jobs:read"))]
Writer = Annotated[Caller, Depends(require("jobs:write"))]


def public_host(deps: Deps) -> str:
    """Give the host that encoders connect to, with brackets round an IPv6 address."""
    return in_url(deps.settings.public_host or urlsplit(deps.base_url).hostname or deps.settings.host)


def _playback(deps: Deps, job: JobRecord, kind: Literal["index", "dvr"]) -> str:
    return playback_url(deps.vault, deps.clock, deps.base_url, job.account, job.event, kind=kind)


def view(deps: Deps, caller: Caller, job: JobRecord) -> JobView:
    """Show a job to a caller; secrets only to those who may write jobs."""
    host = public_host(deps)
    shown = JobView(
        **{k: v for k, v in job.fields.items() if k not in JobView.model_fields},
        id=job.event,
        name=job.name,
        state=job.state,
        state_history=[StateEntry(state=c.state, timestamp=c.at_ms) for c in job.history],
        account_id=job.account,
        static=job.static,
        stream_url=f"rtmp://{host}:{deps.settings.rtmp_port}/live",
        playback_url=_playback(deps, job, "index"),
        playback_url_dvr=_playback(deps, job, "dvr"),
        created_at=job.created_ms,
        modified_at=job.changed_ms,
        finished_at=job.finished_ms,
        reconnect_time=job.reconnect_time_s,
        event_length=job.event_length_s,
        live_dvr_sliding_window_duration=job.dvr_window_s or None,
    )
    if caller.may("jobs:write"):
        _show_secrets(deps, job, shown, host)
    return shown


def _show_secrets(deps: Deps, job: JobRecord, shown: JobView, host: str) -> None:
    """Add stream key and passphrase; without them when they were stored under another SECRET_KEY."""
    try:
        shown.stream_name = deps.jobs.stream_key(job)
        passphrase = deps.jobs.passphrase(job)
    except SecretUnreadable:
        log.warning("job.secrets.unreadable", event_id=job.event)
        return
    query = f"streamid={job.event}&passphrase={passphrase}&pbkeylen=16"
    shown.srt_url = f"srt://{host}:{deps.settings.srt_port}?{query}"


async def _whole(deps: Deps, caller: Caller, job: JobRecord) -> JobView:
    shown = view(deps, caller, job)
    shown.publishers = await deps.jobs.publishers.of(job.account, job.event)
    return shown


@router.post("", status_code=201, openapi_extra=documents(JobCreate))
async def create_job(
    request: Request, caller: Writer, asked: Annotated[JobCreate, Depends(json_body(JobCreate))]
) -> JobView:
    """Make a live job: an encoder can publish to it at once."""
    deps = deps_of(request)
    ident = (await id_maker(request, caller.account))(0)
    return await _whole(deps, caller, await deps.jobs.create(caller.account, ident, asked.to_new_job()))


@router.get("")
async def list_jobs(
    request: Request, caller: Reader, paging: Annotated[Paging, Depends()], state: JobState | None = None
) -> JobList:
    """List the account's live jobs."""
    deps = deps_of(request)
    page = await deps.jobs.list.page(caller.account, Wanted({JOB_STATE: state} if state else {}), paging)
    return JobList(jobs=[view(deps, caller, job) for job in page.items], next_token=page.next_token)


@router.get("/{job_id}")
async def get_job(request: Request, caller: Reader, job_id: HexPath) -> JobView:
    """Read a live job, and what its publishers do."""
    deps = deps_of(request)
    return await _whole(deps, caller, await deps.jobs.get(caller.account, job_id))


@router.put("/{job_id}/stop")
async def stop_job(request: Request, caller: Writer, job_id: HexPath) -> JobView:
    """Finish a live job: its encoder is disconnected, its recording is kept."""
    deps = deps_of(request)
    return await _whole(deps, caller, await deps.jobs.stop(caller.account, job_id))


@router.put("/{job_id}/cancel")
async def cancel_job(request: Request, caller: Writer, job_id: HexPath) -> JobView:
    """Cancel a live job."""
    deps = deps_of(request)
    return await _whole(deps, caller, await deps.jobs.cancel(caller.account, job_id))


@router.delete("/{job_id}", status_code=204)
async def delete_job(request: Request, caller: Writer, job_id: HexPath) -> None:
    """Delete a job that has ended, with its recording; its clips stay."""
    deps = deps_of(request)
    await _unlocked(deps, caller, job_id)
    await deps.jobs.delete(caller.account, job_id)


@router.delete("/{job_id}/recording", status_code=202, response_class=Response)
async def delete_recording(
    request: Request,
    caller: Writer,
    job_id: HexPath,
    start: Annotated[int | None, Query(alias="from", ge=0, le=10**15, description="ms since the epoch")] = None,
    end: Annotated[int | None, Query(alias="to", ge=0, le=10**15, description="ms since the epoch")] = None,
) -> Response:
    """Delete the segments that lie whole in a range of a recording; without `from` and `to`, all of an ended job's."""
    deps = deps_of(request)
    job = await deps.jobs.get(caller.account, job_id)
    if start is not None and end is not None and start >= end:
        raise bad_field("to", "must be after from")
    if not job.ended and (end is None or end > deps.clock.now_ms()):
        raise ApiError(409, f"the job is {job.state}: to must lie in the past")
    await _unlocked(deps, caller, job_id, start, end)
    await deps.jobs.delete_recording(job, start, end)
    return Response(status_code=202)


async def _unlocked(deps: Deps, caller: Caller, job: str, start: int | None = None, end: int | None = None) -> None:
    """See to it that no clip in work needs a range of a recording; ApiError 409."""
    if await deps.clips.in_work(caller.account, job, start or 0, 10**15 if end is None else end):
        raise ApiError(409, "a clip of it is in work: wait, or cancel it")
