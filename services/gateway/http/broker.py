"""Refuses requests at once while the broker is away, instead of letting them time out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fastapi import Request

from services.gateway.http.parts import part_of
from shared.errors import Unavailable


@dataclass(frozen=True, slots=True)
class BrokerLink:
    """The connection to the broker, as routes need it."""

    connected: Callable[[], bool]


async def broker_here(request: Request) -> None:
    """Raise Unavailable (503) when the broker's connection is down."""
    if not part_of(request, BrokerLink).connected():
        raise Unavailable("the broker is away")
