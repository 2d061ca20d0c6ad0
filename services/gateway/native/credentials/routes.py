"""Routes of stored credentials."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Request

from services.gateway.domain.destinations.destinations import NewDestination
from services.gateway.domain.destinations.videocloud import VideoCloud
from services.gateway.domain.errors import invalid
from services.gateway.domain.exports.trials import Trials
from services.gateway.http.bodies import documents, json_body
from services.gateway.http.broker import broker_here
from services.gateway.http.idempotency import HEADER, id_maker
from services.gateway.http.parts import part
from services.gateway.identity.auth import Caller, require
from services.gateway.identity.credential_rules import fit_label
from services.gateway.identity.credentials import Credentials
from services.gateway.native.credentials.models import (
    CredentialCreate,
    CredentialList,
    CredentialPut,
    CredentialTrial,
    CredentialTrialResult,
    CredentialView,
)
from services.gateway.native.credentials.view import view
from shared.messages.credentials import CredentialRecord

router: Final = APIRouter(prefix="/v1/credentials", tags=["credentials"], dependencies=[Depends(broker_here)])
Allowed = Annotated[Caller, Depends(require("credentials"))]
TheCredentials = Annotated[Credentials, Depends(part(Credentials))]
KnownBy = Annotated[str, Path(max_length=128, description="Id or label")]


def _shown(credentials: Credentials, record: CredentialRecord) -> CredentialView:
    return view(record, credentials.url_of(record))


@router.post("", status_code=201, openapi_extra=documents(CredentialCreate))
async def create_credential(
    request: Request,
    caller: Allowed,
    credentials: TheCredentials,
    asked: Annotated[CredentialCreate, Depends(json_body(CredentialCreate))],
) -> CredentialView:
    """Store credentials; secrets are never returned."""
    await id_maker(request, caller.account)  # checks the header; the label is what a repetition is known by
    record = await credentials.create(
        caller.account, asked.label or "", asked.given(), repeated=HEADER in request.headers
    )
    return _shown(credentials, record)


@router.get("")
async def list_credentials(caller: Allowed, credentials: TheCredentials) -> CredentialList:
    """List the account's credentials."""
    found = await credentials.all_of(caller.account)
    return CredentialList(user_id=caller.account, credentials=[_shown(credentials, r) for r in found])


@router.get("/{credential_id}")
async def get_credential(caller: Allowed, credentials: TheCredentials, credential_id: KnownBy) -> CredentialView:
    """Read credentials, without their secrets."""
    return _shown(credentials, await credentials.get(caller.account, credential_id))


@router.put("/{credential_id}", openapi_extra=documents(CredentialPut))
async def put_credential(
    caller: Allowed,
    credentials: TheCredentials,
    credential_id: KnownBy,
    asked: Annotated[CredentialPut, Depends(json_body(CredentialPut))],
) -> CredentialView:
    """Change credentials: what is absent stays.

    With `access_key` and `secret_key`, S3 credentials are replaced as a whole, or made under this name.
    """
    if not asked.is_whole:
        return _shown(credentials, await credentials.change(caller.account, credential_id, asked.given(), asked.label))
    if asked.label not in {None, credential_id}:
        raise invalid("name", "is not the one in the path")
    try:
        fit_label(credential_id)
    except ValueError as error:
        raise invalid("credential_id", str(error)) from error
    return _shown(credentials, await credentials.put(caller.account, credential_id, asked.given(), whole=True))


@router.delete("/{credential_id}", status_code=204)
async def delete_credential(caller: Allowed, credentials: TheCredentials, credential_id: KnownBy) -> None:
    """Remove credentials; exports that still name them fail."""
    await credentials.delete(caller.account, credential_id)


@router.post("/{credential_id}/test", openapi_extra=documents(CredentialTrial, optional=True))
async def test_credential(
    caller: Allowed,
    credentials: TheCredentials,
    trials: Annotated[Trials, Depends(part(Trials))],
    credential_id: KnownBy,
    asked: Annotated[CredentialTrial, Depends(json_body(CredentialTrial, optional=True))],
) -> CredentialTrialResult:
    """Try credentials where they are to be used, and say what is wrong; takes up to 35 s."""
    record = await credentials.get(caller.account, credential_id)
    video = asked.videocloud
    if video is None and record.type == "videocloud" and asked.url is None:
        video = VideoCloud.model_validate({"account_id": asked.account_id, "video": {"name": "reelay test"}})
    result = await trials.run(record, NewDestination("", asked.url, video, record.name))
    return CredentialTrialResult(worked=result.worked, error=result.error)
