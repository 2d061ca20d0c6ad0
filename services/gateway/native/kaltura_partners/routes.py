"""Routes of the partners of the Kaltura API; for admin keys only."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request

from services.gateway.domain.errors import invalid
from services.gateway.http.bodies import documents, json_body
from services.gateway.http.broker import broker_here
from services.gateway.http.idempotency import repeatable_id
from services.gateway.http.parts import part
from services.gateway.identity.auth import Caller, require
from services.gateway.identity.partners import MEDIA_SERVERS, PartnerRecord, Partners
from services.gateway.identity.repeated import RepeatedSecrets
from services.gateway.native.kaltura_partners.models import (
    KalturaPartnerCreate,
    KalturaPartnerList,
    KalturaPartnerMade,
    KalturaPartnerView,
)

router: Final = APIRouter(prefix="/v1/kaltura-partners", tags=["kaltura"], dependencies=[Depends(broker_here)])
Admin = Annotated[Caller, Depends(require("admin"))]
ThePartners = Annotated[Partners, Depends(part(Partners))]


@router.post("", status_code=201, openapi_extra=documents(KalturaPartnerCreate))
async def create_kaltura_partner(
    request: Request,
    caller: Admin,
    partners: ThePartners,
    repeated: Annotated[RepeatedSecrets, Depends(part(RepeatedSecrets))],
    asked: Annotated[KalturaPartnerCreate, Depends(json_body(KalturaPartnerCreate))],
) -> KalturaPartnerMade:
    """Make an account a partner of the Kaltura API, or make the partner of media servers."""
    if (asked.account is None) != asked.media_server:
        raise invalid("account", "is needed, unless media_server is true")
    given = repeated.partner_secret(await repeatable_id(request, caller.account))
    made = partners.create_media_servers(given) if asked.account is None else partners.create(asked.account, given)
    number, secret = await made
    return KalturaPartnerMade(partner_id=number, secret=secret)


@router.get("")
async def list_kaltura_partners(caller: Admin, partners: ThePartners) -> KalturaPartnerList:
    """List the partners of the Kaltura API."""
    del caller
    return KalturaPartnerList(partners=[_view(record) for record in await partners.all()])


@router.delete("/{partner_id}", status_code=204)
async def delete_kaltura_partner(caller: Admin, partners: ThePartners, partner_id: int) -> None:
    """Remove a partner, at once. Its entries stay, and its account gets the same number again."""
    del caller
    await partners.remove(partner_id)


def _view(record: PartnerRecord) -> KalturaPartnerView:
    account = None if record.partner == MEDIA_SERVERS else record.account
    return KalturaPartnerView(partner_id=record.partner, account=account, created_at=record.created_ms)
