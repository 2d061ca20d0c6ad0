"""Routes of restreams."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request

from services.gateway.domain.restreams.parts import position
from services.gateway.domain.restreams.pending import OVER
from services.gateway.domain.restreams.restreams import first_of
from services.gateway.http.bodies import documents, json_body
from services.gateway.http.broker import broker_here
from services.gateway.http.idempotency import id_maker
from services.gateway.http.ids import HexPath
from services.gateway.http.paging import Paging
from services.gateway.http.problems import ApiError
from services.gateway.identity.auth import Caller, deps_of, require
from services.gateway.native.restreams.models import (
    ListUpdate,
    RestreamCreate,
    RestreamList,
    RestreamView,
    SeekAsk,
    TargetsUpdate,
)
from services.gateway.native.restreams.view import view
from shared.messages.restreams import RestreamSpec, State, Verb

router: Final = APIRouter(prefix="/v1/restreams", tags=["restreams"], dependencies=[Depends(broker_here)])
Reader = Annotated[Caller, Depends(require("restreams:read"))]
Writer = Annotated[Caller, Depends(require("restreams:write"))]
PLAYS: Final[frozenset[Verb]] = frozenset({"pause", "skip", "seek"})


@router.post("", status_code=201, openapi_extra=documents(RestreamCreate))
async def create_restream(
    request: Request, caller: Writer, asked: Annotated[RestreamCreate, Depends(json_body(RestreamCreate))]
) -> RestreamView:
    """Play a list of files out as live, now or at its time."""
    restreams = deps_of(request).restreams
    ids = await id_maker(request, caller.account)
    spec = await restreams.spec_of(caller.account, asked)
    command = restreams.command(caller.account, ids(0), "start", spec=spec, command=ids(1))
    await restreams.order(command)
    return view(await restreams.find(caller.account, command.restream))  # a repeated request shows how it is by now


@router.get("")
async def list_restreams(
    request: Request, caller: Reader, paging: Annotated[Paging, Depends()], state: State | None = None
) -> RestreamList:
    """List the account's restreams."""
    page = await deps_of(request).restreams.page(caller.account, state, paging)
    return RestreamList(restreams=[view(k) for k in page.items], next_token=page.next_token)


@router.get("/{restream_id}")
async def get_restream(request: Request, caller: Reader, restream_id: HexPath) -> RestreamView:
    """Read a restream: its state, where it is, and how its targets are."""
    return view(await deps_of(request).restreams.find(caller.account, restream_id))


async def _order(request: Request, caller: Caller, restream: str, verb: Verb, **fields: Any) -> RestreamView:
    """Publish a command to a restream that is there; the answer shows it as it is before the command.

    What is over needs no stop. A repeated request with an Idempotency-Key is one command.
    """
    restreams = deps_of(request).restreams
    ids = await id_maker(request, caller.account)
    known = await restreams.find(caller.account, restream)
    state = known.record.state
    if state in OVER and verb == "stop":
        return view(known)
    if (state in OVER and verb != "resume") or (state == "scheduled" and verb in PLAYS):
        raise ApiError(409, f"the restream is {state}")
    await restreams.order(restreams.command(caller.account, restream, verb, command=ids(0), **fields))
    return view(known)


@router.put("/{restream_id}/sources", status_code=202, openapi_extra=documents(ListUpdate))
async def update_sources(
    request: Request,
    caller: Writer,
    restream_id: HexPath,
    asked: Annotated[ListUpdate, Depends(json_body(ListUpdate))],
) -> RestreamView:
    """Play another list, at once or after the file that plays."""
    restreams = deps_of(request).restreams
    known = await restreams.find(caller.account, restream_id)
    spec = RestreamSpec(
        items=restreams.items(asked.sources),
        targets=known.record.spec.targets,
        loops=asked.loop,
        first=first_of(asked.index, len(asked.sources)),
    )
    return await _order(request, caller, restream_id, "update", spec=spec, wait_current=asked.wait_current)


@router.put("/{restream_id}/targets", status_code=202, openapi_extra=documents(TargetsUpdate))
async def update_targets(
    request: Request,
    caller: Writer,
    restream_id: HexPath,
    asked: Annotated[TargetsUpdate, Depends(json_body(TargetsUpdate))],
) -> RestreamView:
    """Send to these targets from now on; those that stay are not disturbed."""
    parts = deps_of(request).restreams.parts
    targets = parts.targets((f"targets[{n}].url", t.url) for n, t in enumerate(asked.targets))
    return await _order(request, caller, restream_id, "targets", targets=targets)


@router.put("/{restream_id}/pause", status_code=202)
async def pause_restream(request: Request, caller: Writer, restream_id: HexPath) -> RestreamView:
    """Send nothing until it is resumed."""
    return await _order(request, caller, restream_id, "pause")


@router.put("/{restream_id}/resume", status_code=202)
async def resume_restream(request: Request, caller: Writer, restream_id: HexPath) -> RestreamView:
    """Go on after a pause, or, within 48 h, at the picture where it was stopped."""
    return await _order(request, caller, restream_id, "resume")


@router.put("/{restream_id}/skip", status_code=202)
async def skip_source(request: Request, caller: Writer, restream_id: HexPath) -> RestreamView:
    """Go on with the next file."""
    return await _order(request, caller, restream_id, "skip")


@router.put("/{restream_id}/seek", status_code=202, openapi_extra=documents(SeekAsk))
async def seek_restream(
    request: Request, caller: Writer, restream_id: HexPath, asked: Annotated[SeekAsk, Depends(json_body(SeekAsk))]
) -> RestreamView:
    """Go on at a place in a file of the list."""
    known = await deps_of(request).restreams.find(caller.account, restream_id)
    item = first_of(asked.source, len(known.record.spec.items), "source")
    at = position("position", asked.position or Fraction(0))
    return await _order(request, caller, restream_id, "seek", item=item, at=at)


@router.put("/{restream_id}/stop", status_code=202)
async def stop_restream(request: Request, caller: Writer, restream_id: HexPath) -> RestreamView:
    """End a restream; where it was is kept for 48 h."""
    return await _order(request, caller, restream_id, "stop")
