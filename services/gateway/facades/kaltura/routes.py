"""Kaltura's API as a facade: one address, whatever is called; every answer has the status 200."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from services.gateway.facades.facade import Facade, Fault, dialect
from services.gateway.facades.kaltura.errors import kaltura_error
from services.gateway.facades.kaltura.params import PREFIX
from services.gateway.facades.kaltura.render import TYPES, XML, render
from services.gateway.facades.kaltura.rpc import Rpc, Sent
from services.gateway.http.broker import BrokerLink
from services.gateway.http.parts import part
from shared.errors import Unavailable

OPEN: Final = {"Access-Control-Allow-Origin": "*", "Cache-Control": "no-store"}
"""Players on other sites ask whether an entry is live; no cookie is ever looked at."""
PREFLIGHT: Final = OPEN | {
    "Access-Control-Allow-Methods": "GET, POST", "Access-Control-Allow-Headers": "Content-Type",
    "Access-Control-Max-Age": "86400",
}  # fmt: skip


class Kaltura:
    """Requests carry a KS; each call of a request may carry its own."""

    def __init__(self) -> None:
        self.routes = APIRouter(route_class=dialect(self.render_error))

    async def authenticate(self, request: Request) -> str:
        """Return no account: each call of a request names its own (`Rpc`)."""
        del request
        return ""

    def render_error(self, request: Request, error: Fault) -> Response:
        """Return an error in the form of the API."""
        del request
        return Response(render(kaltura_error(error), XML, 0), media_type=TYPES[XML], headers=OPEN)


FACADE: Final = Kaltura()
_checked: Facade = FACADE


@FACADE.routes.api_route(PREFIX, methods=["GET", "POST"], include_in_schema=False)
@FACADE.routes.api_route(f"{PREFIX}/{{rest:path}}", methods=["GET", "POST"], include_in_schema=False)
async def call(
    request: Request, rpc: Annotated[Rpc, Depends(part(Rpc))], link: Annotated[BrokerLink, Depends(part(BrokerLink))]
) -> Response:
    """Run the calls of a request."""
    sent = Sent(
        path=request.url.path,
        query=request.url.query,
        content_type=request.headers.get("content-type", ""),
        body=await request.body(),
        address=request.client.host if request.client else "",
    )

    def available() -> None:
        if not link.connected():
            raise Unavailable("the broker is away")

    body, kind = await rpc.answer(sent, available)
    return Response(body, media_type=kind, headers=OPEN)


@FACADE.routes.api_route(PREFIX, methods=["OPTIONS"], include_in_schema=False)
@FACADE.routes.api_route(f"{PREFIX}/{{rest:path}}", methods=["OPTIONS"], include_in_schema=False)
async def preflight() -> Response:
    """Let pages of other sites call."""
    return Response(status_code=204, headers=PREFLIGHT)
