"""Routes of restreams."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request

from services.gateway.domain.restreams.parts import position
from services.gateway.domain.restreams.restreams import Restreams
from services.gateway.domain.restreams.values import first_of
from services.gateway.http.bodies import documents, json_body
from services.gateway.http.broker import broker_here
from services.gateway.http.idempotency import id_maker
from services.gateway.http.ids import HexPath
from services.gateway.http.paging import AskedPage
from services.gateway.http.parts import part
from services.gateway.identity.auth import Caller, require
from services.gateway.native.restreams.models import (
    ListUpdate,
    RestreamCreate,
    RestreamList,
    RestreamView,
    SeekAsk,
    TargetsUpdate,
)
from services.gateway.native.restreams.translate import items_of, spec_of, targets_of
from services.gateway.native.restreams.view import view
from shared.messages.restream_commands import Pause, Resume, Retarget, Seek, Skip, Start, Stop, Update
from shared.messages.restreams import State

router: Final = APIRouter(prefix="/v1/restreams", tags=["restreams"], dependencies=[Depends(broker_here)])
Reader = Annotated[Caller, Depends(require("restreams:read"))]
Writer = Annotated[Caller, Depends(require("restreams:write"))]
TheRestreams = Annotated[Restreams, Depends(part(Restreams))]


async def command_id(request: Request, caller: Writer) -> str:
    """Return the id of the request's command: a repeated request with an Idempotency-Key is one command."""
    return (await id_maker(request, caller.account))(0)


CommandId = Annotated[str, Depends(command_id)]


@router.post("", status_code=201, openapi_extra=documents(RestreamCreate))
async def create_restream(
    request: Request,
    caller: Writer,
    restreams: TheRestreams,
    asked: Annotated[RestreamCreate, Depends(json_body(RestreamCreate))],
) -> RestreamView:
    """Play a list of files out as live, now or at its time."""
    ids = await id_maker(request, caller.account)
    spec = spec_of(asked, restreams.parts, restreams.now_ms())
    command = restreams.command(caller.account, ids(0), Start(spec=spec), ids(1))
    await restreams.order(command)
    return view(await restreams.find(caller.account, command.restream))  # a repeated request shows the current state


@router.get("")
async def list_restreams(
    caller: Reader, restreams: TheRestreams, paging: AskedPage, state: State | None = None
) -> RestreamList:
    """List the account's restreams."""
    page = await restreams.page(caller.account, state, paging)
    return RestreamList(restreams=[view(k) for k in page.items], next_token=page.next_token)


@router.get("/{restream_id}")
async def get_restream(caller: Reader, restreams: TheRestreams, restream_id: HexPath) -> RestreamView:
    """Return a restream: its state, its position, and the states of its targets."""
    return view(await restreams.find(caller.account, restream_id))


@router.put("/{restream_id}/sources", status_code=202, openapi_extra=documents(ListUpdate))
async def update_sources(
    caller: Writer,
    restreams: TheRestreams,
    restream_id: HexPath,
    command: CommandId,
    asked: Annotated[ListUpdate, Depends(json_body(ListUpdate))],
) -> RestreamView:
    """Play another list, at once or after the current file."""
    await restreams.find(caller.account, restream_id)  # a 404 for the restream comes before a 400 for its list
    order = Update(
        items=items_of(asked.sources, restreams.parts),
        loops=asked.loop,
        first=first_of(asked.index, len(asked.sources)),
        wait_current=asked.wait_current,
    )
    return view(await restreams.obey(caller.account, restream_id, order, command))


@router.put("/{restream_id}/targets", status_code=202, openapi_extra=documents(TargetsUpdate))
async def update_targets(
    caller: Writer,
    restreams: TheRestreams,
    restream_id: HexPath,
    command: CommandId,
    asked: Annotated[TargetsUpdate, Depends(json_body(TargetsUpdate))],
) -> RestreamView:
    """Send to these targets from now on; those that stay are not disturbed."""
    targets = targets_of(asked.targets, restreams.parts)
    return view(await restreams.obey(caller.account, restream_id, Retarget(targets=targets), command))


@router.put("/{restream_id}/pause", status_code=202)
async def pause_restream(
    caller: Writer, restreams: TheRestreams, restream_id: HexPath, command: CommandId
) -> RestreamView:
    """Send nothing until it is resumed."""
    return view(await restreams.obey(caller.account, restream_id, Pause(), command))


@router.put("/{restream_id}/resume", status_code=202)
async def resume_restream(
    caller: Writer, restreams: TheRestreams, restream_id: HexPath, command: CommandId
) -> RestreamView:
    """Continue after a pause, or, within 48 h of a stop, at the picture where it was stopped."""
    return view(await restreams.obey(caller.account, restream_id, Resume(), command))


@router.put("/{restream_id}/skip", status_code=202)
async def skip_source(
    caller: Writer, restreams: TheRestreams, restream_id: HexPath, command: CommandId
) -> RestreamView:
    """Continue with the next file."""
    return view(await restreams.obey(caller.account, restream_id, Skip(), command))


@router.put("/{restream_id}/seek", status_code=202, openapi_extra=documents(SeekAsk))
async def seek_restream(
    caller: Writer,
    restreams: TheRestreams,
    restream_id: HexPath,
    command: CommandId,
    asked: Annotated[SeekAsk, Depends(json_body(SeekAsk))],
) -> RestreamView:
    """Continue at a position in a file of the list."""
    known = await restreams.find(caller.account, restream_id)
    item = first_of(asked.source, len(known.record.spec.items), "source")
    at = position("position", asked.position or Fraction(0))
    return view(await restreams.obey(caller.account, restream_id, Seek(item=item, at=at), command))


@router.put("/{restream_id}/stop", status_code=202)
async def stop_restream(
    caller: Writer, restreams: TheRestreams, restream_id: HexPath, command: CommandId
) -> RestreamView:
    """End a restream; its position is kept for 48 h."""
    return view(await restreams.obey(caller.account, restream_id, Stop(), command))
