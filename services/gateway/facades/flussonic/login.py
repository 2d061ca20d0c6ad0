"""Who calls the streamer API: Basic (the password, or else the user name, is an API key), or Bearer."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable
from typing import Final

from fastapi import Request

from services.gateway.domain.errors import Denied
from services.gateway.http.broker import broker_here
from services.gateway.http.problems import ApiError
from services.gateway.identity.auth import Caller, identify, key_text
from services.gateway.identity.keys import PREFIX
from shared.messages.keys import Scope

_ELSEWHERE: Final = frozenset({"cross-site", "same-site"})
CHALLENGE: Final = {"WWW-Authenticate": 'Basic realm="reelay", charset="UTF-8"'}


def given_key(request: Request) -> str:
    """Return the API key that a request carries in any way; empty when there is none."""
    kind, _, given = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "basic":
        return key_text(request)
    try:
        text = base64.b64decode(given.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        return ""
    user, _, password = text.partition(":")
    if user.startswith(PREFIX) and not password.startswith(PREFIX):
        return user
    return password or user


async def caller_of(request: Request, *scopes: Scope) -> Caller:
    """Return the caller; 401 without a valid key, Denied without one of the scopes, Unavailable.

    Browsers add the logins that they know to what other sites send: that changes nothing here.
    """
    if request.method not in {"GET", "HEAD"} and request.headers.get("sec-fetch-site", "none") in _ELSEWHERE:
        raise Denied("requests from other sites change nothing")
    try:
        found = await identify(request, given_key(request))
    except ApiError as error:
        if error.status == 401:
            raise ApiError(401, "a login is needed: an API key as the password, or as a Bearer token",
                           headers=CHALLENGE) from error  # fmt: skip
        raise
    if not any(found.may(scope) for scope in scopes):
        raise Denied(f"this needs a key with the scope {' or '.join(scopes)}")
    return found


def may(*scopes: Scope) -> Callable[[Request], Awaitable[Caller]]:
    """Make the dependency that accepts callers with any one of the scopes; Unavailable while the broker is away."""

    async def caller(request: Request) -> Caller:
        await broker_here(request)
        return await caller_of(request, *scopes)

    return caller
