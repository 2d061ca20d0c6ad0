"""Routes of the accounts of the CDNetworks API; for admin keys only."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request

from services.gateway.domain.errors import no_such
from services.gateway.http.bodies import documents, json_body
from services.gateway.http.broker import broker_here
from services.gateway.http.idempotency import repeatable_id
from services.gateway.http.parts import part
from services.gateway.identity.auth import Caller, require
from services.gateway.identity.cdn_accounts import CdnAccounts
from services.gateway.identity.repeated import RepeatedSecrets
from services.gateway.native.cdn_accounts.models import (
    CdnAccountCreate,
    CdnAccountList,
    CdnAccountMade,
    CdnAccountView,
)

router: Final = APIRouter(prefix="/v1/cdn-accounts", tags=["cdnetworks"], dependencies=[Depends(broker_here)])
Admin = Annotated[Caller, Depends(require("admin"))]
TheAccounts = Annotated[CdnAccounts, Depends(part(CdnAccounts))]


@router.post("", status_code=201, openapi_extra=documents(CdnAccountCreate))
async def create_cdn_account(
    request: Request,
    caller: Admin,
    accounts: TheAccounts,
    repeated: Annotated[RepeatedSecrets, Depends(part(RepeatedSecrets))],
    asked: Annotated[CdnAccountCreate, Depends(json_body(CdnAccountCreate))],
) -> CdnAccountMade:
    """Make an account of the CDNetworks API; its restreams belong to the caller's account."""
    given = asked.key or repeated.cdn_key(await repeatable_id(request, caller.account))
    key = await accounts.create(caller.account, asked.account, given)
    return CdnAccountMade(n=asked.account, key=key)


@router.get("")
async def list_cdn_accounts(caller: Admin, accounts: TheAccounts) -> CdnAccountList:
    """List the accounts of the CDNetworks API."""
    found = await accounts.all_of(caller.account)
    return CdnAccountList(accounts=[CdnAccountView(n=a.name, created_at=a.created_ms) for a in found])


@router.delete("/{name}", status_code=204)
async def delete_cdn_account(caller: Admin, accounts: TheAccounts, name: str) -> None:
    """Remove an account of the CDNetworks API, at once."""
    if not await accounts.delete(caller.account, name):
        raise no_such("account")
