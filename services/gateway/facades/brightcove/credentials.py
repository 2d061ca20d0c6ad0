"""Routes of stored credentials."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Request

from services.gateway.facades.brightcove.errors import render
from services.gateway.facades.brightcove.models import CredentialAsk, NewCredentialAsk
from services.gateway.facades.brightcove.translate import credential_of
from services.gateway.facades.brightcove.view import Body, credential, credential_ref
from services.gateway.facades.facade import dialect
from services.gateway.http.bodies import json_body
from services.gateway.http.broker import broker_here
from services.gateway.http.idempotency import HEADER, id_maker
from services.gateway.http.parts import part
from services.gateway.identity.auth import Caller, require
from services.gateway.identity.credentials import Credentials

router: Final = APIRouter(prefix="/v1/credentials", dependencies=[Depends(broker_here)], route_class=dialect(render))
Allowed = Annotated[Caller, Depends(require("credentials"))]
TheCredentials = Annotated[Credentials, Depends(part(Credentials))]
KnownBy = Annotated[str, Path(max_length=128)]


@router.post("")
async def create_credential(
    request: Request,
    caller: Allowed,
    credentials: TheCredentials,
    asked: Annotated[NewCredentialAsk, Depends(json_body(NewCredentialAsk))],
) -> Body:
    """Store credentials."""
    await id_maker(request, caller.account)  # checks the header; the label is what a repetition is known by
    repeated = HEADER in request.headers
    label, given = asked.credential_label, credential_of(asked)
    return credential_ref(await credentials.create(caller.account, label, given, repeated=repeated))


@router.get("")
async def list_credentials(caller: Allowed, credentials: TheCredentials) -> Body:
    """List the account's credentials."""
    found = await credentials.all_of(caller.account)
    return {"user_id": caller.account, "credentials": [credential(one, credentials.url_of(one)) for one in found]}


@router.get("/{credential_id}")
async def get_credential(caller: Allowed, credentials: TheCredentials, credential_id: KnownBy) -> Body:
    """Read credentials; theirs has no such call."""
    found = await credentials.get(caller.account, credential_id)
    return credential(found, credentials.url_of(found))


@router.put("/{credential_id}")
async def put_credential(
    caller: Allowed,
    credentials: TheCredentials,
    credential_id: KnownBy,
    asked: Annotated[CredentialAsk, Depends(json_body(CredentialAsk))],
) -> Body:
    """Change credentials: what is absent stays."""
    given, label = credential_of(asked), asked.credential_label
    return credential_ref(await credentials.change(caller.account, credential_id, given, label))


@router.delete("/{credential_id}", status_code=204)
async def delete_credential(caller: Allowed, credentials: TheCredentials, credential_id: KnownBy) -> None:
    """Remove credentials."""
    await credentials.delete(caller.account, credential_id)
