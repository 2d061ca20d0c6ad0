"""Quick refusal while the broker is away: better than a request that waits for its time-out."""

from __future__ import annotations

from fastapi import Request

from services.gateway.identity.auth import deps_of
from shared.errors import Unavailable


async def broker_here(request: Request) -> None:
    """Raise Unavailable (503) when the broker's connection is down."""
    if not deps_of(request).connected():
        raise Unavailable("the broker is away")
