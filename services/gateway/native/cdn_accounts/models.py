"""Bodies of requests and answers about accounts of the CDNetworks API."""

from __future__ import annotations

from pydantic import BaseModel, Field


class CdnAccountCreate(BaseModel):
    """A new account of the CDNetworks API."""

    account: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$", description="Its name there, n")
    key: str | None = Field(
        None, pattern=r"^[!-~]{12,64}$", description="A key that clients have already; absent: made"
    )


class CdnAccountMade(BaseModel):
    """The name and the key that sign requests: k = md5(r + key). The key is shown only here."""

    n: str
    key: str


class CdnAccountView(BaseModel):
    """An account of the API, without its key."""

    n: str
    created_at: int


class CdnAccountList(BaseModel):
    """The accounts of the API that act for the caller's account."""

    accounts: list[CdnAccountView]
