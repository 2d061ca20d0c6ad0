"""Routes of the CDNetworks API and of its accounts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, ValidationError

from services.gateway.auth import Caller, deps_of, require
from services.gateway.cdnetworks.accounts import Refused
from services.gateway.cdnetworks.models import Answer, ForwardRequest
from services.gateway.cdnetworks.translate import Translator
from services.gateway.deps import Deps
from services.gateway.http.bodies import Malformed, documents, json_body, parse_json, plain
from services.gateway.http.broker import broker_here
from services.gateway.http.problems import ApiError, bad_fields, field_errors, not_found
from shared.errors import Rejected, Unavailable
from shared.logging import get_logger

log = get_logger()
router: Final = APIRouter(tags=["cdnetworks"])
RECEIVED: Final = "receive task success!"
Admin = Annotated[Caller, Depends(require("admin"))]
Sent = Annotated[str, Query()]


class CdnAccountCreate(BaseModel):
    """A new account of the CDNetworks API."""

    account: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$", description="Its name there, n")
    key: str | None = Field(
        None, pattern=r"^[!-~]{12,64}$", description="A key that clients have already; absent: made"
    )


class CdnAccountMade(BaseModel):
    """What signs requests: k = md5(r + key). The key is told here only."""

    n: str
    key: str


class CdnAccountView(BaseModel):
    """An account of the API, without its key."""

    n: str
    created_at: int


class CdnAccountList(BaseModel):
    """The accounts of the API that act for the caller's account."""

    accounts: list[CdnAccountView]


@router.post(
    "/v1/cdn-accounts",
    status_code=201,
    dependencies=[Depends(broker_here)],
    openapi_extra=documents(CdnAccountCreate),
)
async def create_cdn_account(
    request: Request, caller: Admin, asked: Annotated[CdnAccountCreate, Depends(json_body(CdnAccountCreate))]
) -> CdnAccountMade:
    """Make an account of the CDNetworks API; its restreams belong to the caller's account."""
    key = await deps_of(request).cdn_accounts.create(caller.account, asked.account, asked.key)
    return CdnAccountMade(n=asked.account, key=key)


@router.get("/v1/cdn-accounts", dependencies=[Depends(broker_here)])
async def list_cdn_accounts(request: Request, caller: Admin) -> CdnAccountList:
    """List the accounts of the CDNetworks API."""
    found = await deps_of(request).cdn_accounts.all_of(caller.account)
    return CdnAccountList(accounts=[CdnAccountView(n=a.name, created_at=a.created_ms) for a in found])


@router.delete("/v1/cdn-accounts/{name}", status_code=204, dependencies=[Depends(broker_here)])
async def delete_cdn_account(request: Request, caller: Admin, name: str) -> None:
    """Remove an account of the CDNetworks API, at once."""
    if not await deps_of(request).cdn_accounts.delete(caller.account, name):
        raise not_found("account")


@router.post("/api/cdn/v2/forwardRequest.action", response_model=Answer, openapi_extra=documents(ForwardRequest))
async def forward_request(request: Request, n: Sent = "", r: Sent = "", k: Sent = "") -> JSONResponse:
    """Start (cmd 1), end (2), update (3) or resume (5) VoD streaming, signed by n, r and k = md5(r + key)."""
    deps = deps_of(request)
    address, counted = request.client.host if request.client else "", False

    def stranger() -> None:
        nonlocal counted
        deps.quotas.stranger(address)
        counted = True

    try:
        await broker_here(request)
        account = await deps.cdn_accounts.verify(n, r, k, stranger, deps.quotas.request)
        unknown = await _obey(deps, account, await request.body())
    except Refused as error:
        if counted or deps.quotas.may_log(address):
            log.warning("cdn.refused", n=n[:64], reason=str(error))
        return _answer(deps, 403, f"no request permission: {error}")
    except ApiError as error:
        return _answer(deps, error.status, error.message, error.headers)
    except Rejected as error:
        return _answer(deps, 400, str(error))
    except Unavailable as error:
        log.warning("request.unavailable", error=str(error))
        return _answer(deps, 503, "try again in a moment")
    return _answer(deps, 200, f"{RECEIVED} But {'; '.join(unknown)}" if unknown else RECEIVED)


async def _obey(deps: Deps, account: str, body: bytes) -> list[str]:
    """Order what is asked; gives what could not be, because there is no such task. ApiError when nothing could."""
    raw = _read(body)
    asked = _model(raw)
    restreams = deps.restreams
    translator = Translator(account, restreams.parts, deps.vault, deps.settings, restreams.command, deps.clock.now_ms())
    commands = translator.commands(asked, raw)
    known, unknown = [], []
    for position, (command, task) in enumerate(zip(commands, asked.list, strict=True)):
        if command.verb in {"stop", "update"} and not await _is_known(deps, account, command.restream):
            unknown.append(f"list[{position}].id: there is no such task{f': {task.id}' if len(commands) > 1 else ''}")
            continue
        if command.spec and command.spec.live:
            await deps.jobs.get(account, command.spec.live.event)
        known.append(command)
    if not known:
        raise ApiError(400, "; ".join(unknown))
    await restreams.order(*known)
    return unknown


async def _is_known(deps: Deps, account: str, restream: str) -> bool:
    try:
        await deps.restreams.find(account, restream)
    except ApiError as error:
        if error.status == 404:
            return False
        raise
    return True


def _read(body: bytes) -> dict[str, Any]:
    try:
        raw = plain(parse_json(body))
    except Malformed as error:
        raise ApiError(400, str(error)) from error
    if not isinstance(raw, dict):
        raise ApiError(400, "the body must be a JSON object")
    return raw


def _model(raw: dict[str, Any]) -> ForwardRequest:
    try:
        return ForwardRequest.model_validate(raw)
    except ValidationError as error:
        raise bad_fields(field_errors(error.errors(include_url=False, include_input=False))) from error


def _answer(deps: Deps, status: int, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    body = Answer(http_code=str(status), msg=message, call_time=deps.clock.now_ms())
    return JSONResponse(body.model_dump(), status_code=status, headers=headers)
