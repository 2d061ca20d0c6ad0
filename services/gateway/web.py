"""The HTTP application: routes and what stands round them."""

from __future__ import annotations

import asyncio
import json
from typing import Final

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from services.gateway.delivery import Delivery
from services.gateway.delivery import router as delivery_router
from services.gateway.deps import Deps
from services.gateway.facades.cdnetworks import routes as cdnetworks_api
from services.gateway.http import problems
from services.gateway.http.headers import Headers
from services.gateway.http.limits import BodyLimit
from services.gateway.http.openapi import PATH, document_of
from services.gateway.native.clips import media as media_api
from services.gateway.native.clips import routes as vods_api
from services.gateway.native.credentials import routes as credentials_api
from services.gateway.native.jobs import routes as jobs_api
from services.gateway.native.keys import routes as keys_api
from services.gateway.native.library import routes as library_api
from services.gateway.native.restreams import routes as restreams_api
from services.gateway.native.webhooks import routes as webhooks_api
from shared.health import standing
from shared.recording.asking import Asking

HEALTH: Final = "application/health+json"


async def healthz() -> JSONResponse:
    """Tell that the process runs."""
    return JSONResponse({"status": "pass"}, media_type=HEALTH)


async def readyz(request: Request) -> JSONResponse:
    """Tell whether the gateway can do its work; 503 names what is missing."""
    state = request.app.state
    if state.readiness is None or state.readiness.done():  # however many ask, the broker is asked once at a time
        state.readiness = asyncio.ensure_future(state.deps.ready())
    faults = await asyncio.shield(state.readiness)
    said = {**state.deps.notes(), **faults}
    return JSONResponse(
        {"status": standing(said, failed=bool(faults)), **said}, status_code=503 if faults else 200, media_type=HEALTH
    )


async def openapi(request: Request) -> Response:
    """Describe this API (OpenAPI 3.1)."""
    state = request.app.state
    if state.document is None:
        document = await asyncio.to_thread(document_of, request.app)
        state.document = json.dumps(document, separators=(",", ":")).encode()
    return Response(state.document, media_type="application/json")


def make_web(deps: Deps) -> FastAPI:
    """Make the application on its parts."""
    app = FastAPI(
        title="Reelay",
        version="1",
        description="Live streams in, clips out.",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # the redirect would name the Host header's host, before any key is asked for
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.deps = deps
    app.state.document = None
    app.state.readiness = None
    app.add_middleware(BodyLimit)
    app.add_middleware(Headers)
    problems.install(app)
    app.add_api_route("/healthz", healthz, tags=["health"])
    app.add_api_route("/readyz", readyz, tags=["health"])
    app.add_api_route(PATH, openapi, tags=["health"], response_class=JSONResponse)
    native = (jobs_api, vods_api, media_api, library_api, restreams_api, credentials_api, webhooks_api, keys_api)
    for api in (*native, cdnetworks_api):
        app.include_router(api.router)
    asking = Asking(deps.outbox, deps.clock)
    app.state.delivery = Delivery(deps.js, deps.store, deps.vault, deps.clock, lambda: deps.base_url, asking)
    app.include_router(delivery_router)
    return app
