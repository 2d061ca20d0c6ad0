"""The CDNetworks API as a facade: its route, its signature, its answers."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse

from services.gateway.domain.quotas import Quotas
from services.gateway.facades.cdnetworks.errors import answer, error_answer
from services.gateway.facades.cdnetworks.models import Answer, ForwardRequest
from services.gateway.facades.cdnetworks.tasks import Tasks
from services.gateway.facades.facade import Facade, Fault, dialect
from services.gateway.http.bodies import documents
from services.gateway.http.broker import broker_here
from services.gateway.http.parts import part, part_of
from services.gateway.identity.cdn_accounts import CdnAccounts, Refused
from shared.runtime.logging import get_logger

log = get_logger()
RECEIVED: Final = "receive task success!"
Sent = Annotated[str, Query()]


class CdnNetworks:
    """Requests are signed by n, r and k = md5(r + key)."""

    def __init__(self) -> None:
        self.routes = APIRouter(tags=["cdnetworks"], route_class=dialect(self.render_error))

    async def authenticate(self, request: Request) -> str:
        """Return the account of a request. Raise Refused, TooMany, Unavailable."""
        quotas, sent = part_of(request, Quotas), request.query_params
        address, counted = request.client.host if request.client else "", False
        n, r, k = (sent.get(name, "") for name in "nrk")

        def stranger() -> None:
            nonlocal counted
            quotas.stranger(address)
            counted = True

        await broker_here(request)
        try:
            return await part_of(request, CdnAccounts).verify(n, r, k, stranger, quotas.request)
        except Refused as error:
            if counted or quotas.may_log(address):
                log.warning("cdn.refused", n=n[:64], reason=str(error))
            raise

    def render_error(self, request: Request, error: Fault) -> JSONResponse:
        """Return an error in the form of the API."""
        return error_answer(error, part_of(request, Tasks).now_ms())


FACADE: Final = CdnNetworks()
_checked: Facade = FACADE


@FACADE.routes.post("/api/cdn/v2/forwardRequest.action", response_model=Answer, openapi_extra=documents(ForwardRequest))
async def forward_request(
    request: Request,
    account: Annotated[str, Depends(FACADE.authenticate)],
    tasks: Annotated[Tasks, Depends(part(Tasks))],
    n: Sent = "",
    r: Sent = "",
    k: Sent = "",
) -> JSONResponse:
    """Start (cmd 1), end (2), update (3) or resume (5) VoD streaming, signed by n, r and k = md5(r + key)."""
    del n, r, k  # read by authenticate; here they are documented
    unknown = await tasks.obey(account, await request.body())
    return answer(200, f"{RECEIVED} But {'; '.join(unknown)}" if unknown else RECEIVED, tasks.now_ms())
