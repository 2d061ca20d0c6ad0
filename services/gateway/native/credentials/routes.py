"""Routes of stored credentials."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path

from services.gateway.http.bodies import documents, json_body
from services.gateway.http.broker import broker_here
from services.gateway.http.parts import part
from services.gateway.identity.auth import Caller, require
from services.gateway.identity.credentials import Credentials
from services.gateway.native.credentials.models import CredentialList, CredentialPut, CredentialView
from services.gateway.native.credentials.view import view

router: Final = APIRouter(prefix="/v1/credentials", tags=["credentials"], dependencies=[Depends(broker_here)])
Allowed = Annotated[Caller, Depends(require("credentials"))]
TheCredentials = Annotated[Credentials, Depends(part(Credentials))]
Name = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]


@router.put("/{name}", openapi_extra=documents(CredentialPut))
async def put_credential(
    caller: Allowed,
    credentials: TheCredentials,
    name: Name,
    asked: Annotated[CredentialPut, Depends(json_body(CredentialPut))],
) -> CredentialView:
    """Store credentials under a name, or replace them; the secret is never returned."""
    return view(
        await credentials.put(
            caller.account,
            name,
            endpoint=asked.endpoint,
            region=asked.region,
            access_key=asked.access_key,
            secret=asked.secret_key,
        )
    )


@router.get("")
async def list_credentials(caller: Allowed, credentials: TheCredentials) -> CredentialList:
    """List the account's credentials."""
    return CredentialList(credentials=[view(r) for r in await credentials.all_of(caller.account)])


@router.delete("/{name}", status_code=204)
async def delete_credential(caller: Allowed, credentials: TheCredentials, name: Name) -> None:
    """Remove credentials."""
    await credentials.delete(caller.account, name)
