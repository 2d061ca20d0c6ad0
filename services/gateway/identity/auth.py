"""Identifies callers: API keys, scopes, accounts."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import structlog
from fastapi import Request

from services.gateway.domain.errors import Denied, invalid
from services.gateway.domain.quotas import Quotas
from services.gateway.http.parts import part_of
from services.gateway.http.problems import ApiError
from services.gateway.identity.keys import Keys
from shared.messages.keys import ApiKeyRecord, Scope

ACCOUNT_HEADER: Final = "X-Reelay-Account"
_ACCOUNT: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_IMPLIED: Final[dict[Scope, frozenset[Scope]]] = {
    "jobs:read": frozenset({"jobs:write"}),
    "vods:read": frozenset({"vods:write"}),
    "restreams:read": frozenset({"restreams:write"}),
}


@dataclass(frozen=True, slots=True)
class Caller:
    """A request's account, and what its key may do."""

    account: str
    key_id: str
    scopes: frozenset[Scope]

    def may(self, scope: Scope) -> bool:
        """Return whether the key has a scope: itself, by a scope that implies it, or as an admin key."""
        return bool(self.scopes & ({scope, "admin"} | _IMPLIED.get(scope, frozenset())))

    def needs(self, scope: Scope) -> None:
        """Raise Denied when the key lacks a scope."""
        if not self.may(scope):
            raise Denied(f"this needs a key with the scope {scope}")


def key_text(request: Request) -> str:
    """Return the key from `X-API-KEY`, or from `Authorization: Bearer`; empty when there is none."""
    if given := request.headers.get("x-api-key"):
        return given.strip()
    kind, _, given = request.headers.get("authorization", "").partition(" ")
    return given.strip() if kind.lower() == "bearer" else ""


async def key_of(request: Request, key: str | None = None) -> ApiKeyRecord | None:
    """Return the record of a request's key, looked up once for each request; None without a usable key.

    `key`: the key's text when the request carries it in another way.
    """
    if key is not None:
        return await _found(request, key)
    if not hasattr(request.state, "api_key"):
        request.state.api_key = await _found(request, key_text(request))
    found: ApiKeyRecord | None = request.state.api_key
    return found


async def _found(request: Request, text: str) -> ApiKeyRecord | None:
    address, quotas = request.client.host if request.client else "", part_of(request, Quotas)
    return await part_of(request, Keys).find(text, lambda: quotas.stranger(address)) if text else None


async def identify(request: Request, key: str | None = None) -> Caller:
    """Return the caller by its key; 401 without a valid one, 403 for an account that is not the key's.

    `key`: as of `key_of`.
    """
    record = await key_of(request, key)
    quotas = part_of(request, Quotas)
    if record is None:
        message = "an API key is needed (X-API-KEY or Bearer)"
        if key or (key is None and key_text(request)):
            message = "the API key is unknown, expired or revoked"
        raise ApiError(401, message, headers={"WWW-Authenticate": 'Bearer realm="reelay"'})
    quotas.request(record.account)  # before anything is refused: refusals count, too
    account = request.headers.get(ACCOUNT_HEADER, record.account)
    if account != record.account and "admin" not in record.scopes:
        raise Denied(f"{ACCOUNT_HEADER}: this key acts for its own account only")
    if not _ACCOUNT.fullmatch(account):
        raise invalid(ACCOUNT_HEADER, "an account is 1 to 32 of a-z, 0-9 and -")
    structlog.contextvars.bind_contextvars(account=account)
    return Caller(account, record.key_id, frozenset(record.scopes))


def require(*scopes: Scope) -> Callable[[Request], Awaitable[Caller]]:
    """Make the dependency that accepts callers with any one of the scopes; 401 and 403 for others."""

    async def caller(request: Request) -> Caller:
        found = await identify(request)
        if not any(found.may(scope) for scope in scopes):
            raise Denied(f"this needs a key with the scope {' or '.join(scopes)}")
        return found

    return caller
