"""Routes of API keys; for admin keys only."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field, field_validator

from services.gateway.http.bodies import documents, json_body, no_boolean
from services.gateway.http.broker import broker_here
from services.gateway.http.ids import HexPath
from services.gateway.http.paging import PageSize, StartToken, read_token, write_token
from services.gateway.http.problems import bad_field, not_found
from services.gateway.identity.auth import Caller, deps_of, require
from services.gateway.identity.keys import position
from shared.messages.base import AccountId
from shared.messages.jobs import ApiKeyRecord, Scope

router: Final = APIRouter(prefix="/v1/keys", tags=["keys"], dependencies=[Depends(broker_here)])
Admin = Annotated[Caller, Depends(require("admin"))]


class KeyCreate(BaseModel):
    """A new API key."""

    scopes: list[Scope] = Field(min_length=1, max_length=16, description="jobs:write implies jobs:read, vods likewise")
    account: AccountId | None = Field(None, description="Default: the caller's")
    label: str = Field("", max_length=128)
    expires_at: int | None = Field(None, ge=0, le=10**14, description="ms since the epoch; absent: never")

    _whole = field_validator("expires_at", mode="before")(no_boolean)


class KeyView(BaseModel):
    """An API key without its text."""

    id: str
    account: str
    scopes: list[Scope]
    label: str
    created_at: int
    expires_at: int | None


class KeyMade(KeyView):
    """A new API key, with its text, which is told here only."""

    key: str


class KeyList(BaseModel):
    """An account's keys."""

    keys: list[KeyView]
    next_token: str | None = Field(None, description="start_token of the next page; null on the last one")


def _view(record: ApiKeyRecord) -> KeyView:
    return KeyView(
        id=record.key_id,
        account=record.account,
        scopes=list(record.scopes),
        label=record.label,
        created_at=record.created_ms,
        expires_at=record.expires_ms,
    )


@router.post("", status_code=201, openapi_extra=documents(KeyCreate))
async def create_key(
    request: Request, caller: Admin, asked: Annotated[KeyCreate, Depends(json_body(KeyCreate))]
) -> KeyMade:
    """Make an API key."""
    deps = deps_of(request)
    if asked.expires_at is not None and asked.expires_at <= deps.clock.now_ms():
        raise bad_field("expires_at", "lies in the past")
    scopes = tuple(dict.fromkeys(asked.scopes))
    text, record = await deps.keys.create(asked.account or caller.account, scopes, asked.label, asked.expires_at)
    return KeyMade(**_view(record).model_dump(), key=text)


@router.get("")
async def list_keys(
    request: Request, caller: Admin, start_token: StartToken = None, page_size: PageSize = 1000
) -> KeyList:
    """List the account's keys, oldest first."""
    after = read_token(start_token) if start_token else None
    found = await deps_of(request).keys.page(caller.account, after, page_size + 1)
    shown = found[:page_size]
    token = write_token(position(shown[-1])) if len(found) > page_size else None
    return KeyList(keys=[_view(record) for record in shown], next_token=token)


@router.delete("/{key_id}", status_code=204)
async def revoke_key(request: Request, caller: Admin, key_id: HexPath) -> None:
    """Revoke a key of the account, at once."""
    if not await deps_of(request).keys.revoke(caller.account, key_id):
        raise not_found("key")
