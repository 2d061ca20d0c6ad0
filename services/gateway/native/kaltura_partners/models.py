"""Bodies of requests and answers about partners of the Kaltura API."""

from __future__ import annotations

from pydantic import BaseModel, Field

from shared.messages.base import AccountId


class KalturaPartnerCreate(BaseModel):
    """A new partner: an account, or the media servers of this installation."""

    account: AccountId | None = Field(None, description="The account that the partner acts for")
    media_server: bool = Field(False, description="The partner -5 of media servers, which acts for all others")


class KalturaPartnerMade(BaseModel):
    """The number and the secret that sign sessions. The secret is shown only here."""

    partner_id: int
    secret: str


class KalturaPartnerView(BaseModel):
    """A partner, without its secret."""

    partner_id: int
    account: str | None = Field(description="null: media servers")
    created_at: int


class KalturaPartnerList(BaseModel):
    """The partners of the installation."""

    partners: list[KalturaPartnerView]
