"""Routes of API keys; for admin keys only."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request

from services.gateway.domain.errors import no_such
from services.gateway.domain.lists.pages import read_token, write_token
from services.gateway.http.bodies import documents, json_body
from services.gateway.http.broker import broker_here
from services.gateway.http.idempotency import repeatable_id
from services.gateway.http.ids import HexPath
from services.gateway.http.paging import PageSize, StartToken
from services.gateway.http.parts import part
from services.gateway.identity.auth import Caller, require
from services.gateway.identity.keys import Keys, position
from services.gateway.identity.repeated import RepeatedSecrets
from services.gateway.native.keys.models import KeyCreate, KeyList, KeyMade
from services.gateway.native.keys.view import view

router: Final = APIRouter(prefix="/v1/keys", tags=["keys"], dependencies=[Depends(broker_here)])
Admin = Annotated[Caller, Depends(require("admin"))]
TheKeys = Annotated[Keys, Depends(part(Keys))]


@router.post("", status_code=201, openapi_extra=documents(KeyCreate))
async def create_key(
    request: Request,
    caller: Admin,
    keys: TheKeys,
    repeated: Annotated[RepeatedSecrets, Depends(part(RepeatedSecrets))],
    asked: Annotated[KeyCreate, Depends(json_body(KeyCreate))],
) -> KeyMade:
    """Make an API key."""
    scopes, text = tuple(dict.fromkeys(asked.scopes)), repeated.api_key(await repeatable_id(request, caller.account))
    account = asked.account or caller.account
    text, record = await keys.create(account, scopes, asked.label, asked.expires_at, text, dialect=asked.dialect)
    return KeyMade(**view(record).model_dump(), key=text)


@router.get("")
async def list_keys(
    caller: Admin, keys: TheKeys, start_token: StartToken = None, page_size: PageSize = 1000
) -> KeyList:
    """List the account's keys, oldest first."""
    after = read_token(start_token) if start_token else None
    found = await keys.page(caller.account, after, page_size + 1)
    shown = found[:page_size]
    token = write_token(position(shown[-1])) if len(found) > page_size else None
    return KeyList(keys=[view(record) for record in shown], next_token=token)


@router.delete("/{key_id}", status_code=204)
async def revoke_key(caller: Admin, keys: TheKeys, key_id: HexPath) -> None:
    """Revoke a key of the account, at once."""
    if not await keys.revoke(caller.account, key_id):
        raise no_such("key")
