"""Bodies of requests and answers about API keys."""

from __future__ import annotations

from pydantic import BaseModel, Field, field_validator

from services.gateway.http.bodies import no_boolean
from shared.messages.base import AccountId
from shared.messages.keys import Dialect, Scope


class KeyCreate(BaseModel):
    """A new API key."""

    scopes: list[Scope] = Field(min_length=1, max_length=16, description="jobs:write implies jobs:read, vods likewise")
    account: AccountId | None = Field(None, description="Default: the caller's")
    label: str = Field("", max_length=128)
    expires_at: int | None = Field(None, ge=0, le=10**14, description="ms since the epoch; absent: never")
    dialect: Dialect = Field("native", description="The API whose shapes its calls are answered in")

    _whole = field_validator("expires_at", mode="before")(no_boolean)


class KeyView(BaseModel):
    """An API key without its text."""

    id: str
    account: str
    scopes: list[Scope]
    label: str
    created_at: int
    expires_at: int | None
    dialect: Dialect


class KeyMade(KeyView):
    """A new API key, with its text, which is shown only here."""

    key: str


class KeyList(BaseModel):
    """An account's keys."""

    keys: list[KeyView]
    next_token: str | None = Field(None, description="start_token of the next page; null on the last one")
