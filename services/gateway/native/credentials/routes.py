"""Routes of stored credentials."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, Field

from services.gateway.domain.urls import receiver_url
from services.gateway.http.bodies import documents, json_body
from services.gateway.http.broker import broker_here
from services.gateway.identity.auth import Caller, deps_of, require
from shared.messages.credentials import CredentialRecord

router: Final = APIRouter(prefix="/v1/credentials", tags=["credentials"], dependencies=[Depends(broker_here)])
Allowed = Annotated[Caller, Depends(require("credentials"))]
Name = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]


class CredentialPut(BaseModel):
    """What opens a bucket of the user's own."""

    type: Literal["s3"] = "s3"
    access_key: str = Field(min_length=1, max_length=256)
    secret_key: str = Field(min_length=1, max_length=1024)
    region: str = Field("us-east-1", pattern=r"^[a-z0-9-]{1,64}$")
    endpoint: str = Field("", max_length=2048, description="http(s) URL of an S3 server other than AWS")


class CredentialView(BaseModel):
    """Stored credentials without their secret."""

    name: str
    type: Literal["s3"]
    access_key: str
    region: str
    endpoint: str
    created_at: int
    modified_at: int


class CredentialList(BaseModel):
    """An account's credentials."""

    credentials: list[CredentialView]


def _view(record: CredentialRecord) -> CredentialView:
    return CredentialView(
        name=record.name,
        type=record.type,
        access_key=record.access_key,
        region=record.region,
        endpoint=record.endpoint,
        created_at=record.created_ms,
        modified_at=record.changed_ms,
    )


@router.put("/{name}", openapi_extra=documents(CredentialPut))
async def put_credential(
    request: Request, caller: Allowed, name: Name, asked: Annotated[CredentialPut, Depends(json_body(CredentialPut))]
) -> CredentialView:
    """Store credentials under a name, or replace them; the secret is never given out again."""
    deps = deps_of(request)
    endpoint = receiver_url("endpoint", asked.endpoint, deps.settings) if asked.endpoint else ""
    return _view(
        await deps.credentials.put(
            caller.account,
            name,
            endpoint=endpoint,
            region=asked.region,
            access_key=asked.access_key,
            secret=asked.secret_key,
        )
    )


@router.get("")
async def list_credentials(request: Request, caller: Allowed) -> CredentialList:
    """List the account's credentials."""
    return CredentialList(credentials=[_view(r) for r in await deps_of(request).credentials.all_of(caller.account)])


@router.delete("/{name}", status_code=204)
async def delete_credential(request: Request, caller: Allowed, name: Name) -> None:
    """Remove credentials."""
    await deps_of(request).credentials.delete(caller.account, name)
