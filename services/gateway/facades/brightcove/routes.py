"""Brightcove's Live API as a facade: its routes on the paths of /v1, and its errors."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from services.gateway.facades.brightcove import clips, credentials, errors, jobs, outputs
from services.gateway.facades.facade import Facade, Fault
from services.gateway.identity.auth import identify


class Brightcove:
    """Requests carry an API key whose dialect is this one."""

    def __init__(self) -> None:
        self.routes = APIRouter()
        self.routes.routes.extend(route for part in (jobs, outputs, clips, credentials) for route in part.router.routes)

    async def authenticate(self, request: Request) -> str:
        """Return the account of a request. Raise ApiError, Denied, TooMany, Unavailable."""
        return (await identify(request)).account

    def render_error(self, request: Request, error: Fault) -> JSONResponse:
        """Return an error in the form of the API."""
        return errors.render(request, error)


FACADE: Final = Brightcove()
_checked: Facade = FACADE
