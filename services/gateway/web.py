"""The HTTP application: its routes and middleware."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Annotated, Final

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse, Response

from services.gateway import native
from services.gateway.delivery import router as delivery_router
from services.gateway.delivery.clips.routes import router as clip_playback_router
from services.gateway.delivery.moments.routes import router as moments_router
from services.gateway.facades.brightcove.routes import FACADE as BRIGHTCOVE
from services.gateway.facades.cdnetworks.routes import FACADE as CDNETWORKS
from services.gateway.facades.dialects import DialectRoutes
from services.gateway.facades.facade import Facade
from services.gateway.facades.flussonic.routes import FACADE as FLUSSONIC
from services.gateway.facades.flussonic.routes import MOUNT
from services.gateway.facades.kaltura.routes import FACADE as KALTURA
from services.gateway.http import parts, problems, unmatched
from services.gateway.http.headers import Headers
from services.gateway.http.limits import BodyLimit
from services.gateway.http.openapi import PATH, document_of
from services.gateway.http.readiness import Readiness
from shared.messages.keys import Dialect
from shared.runtime.health import standing

HEALTH: Final = "application/health+json"
FACADES: Final[tuple[Facade, ...]] = (CDNETWORKS, FLUSSONIC, KALTURA)
PREFIXES: Final[Mapping[str, Facade]] = {
    "/api/cdn/": CDNETWORKS, "/streamer/": FLUSSONIC, "/flussonic/": FLUSSONIC, "/api_v3/": KALTURA,
}  # fmt: skip
"""Below which a facade's form of errors is also that of paths and methods that no route takes."""
DIALECTS: Final[Mapping[Dialect, Facade]] = {"brightcove": BRIGHTCOVE}
"""The APIs on the paths of the native one: which of them answers, a key says."""


class ApiDocument:
    """The OpenAPI document, made once."""

    def __init__(self) -> None:
        self._text = b""

    async def of(self, app: FastAPI) -> bytes:
        """Return the document as JSON."""
        if not self._text:
            document = await asyncio.to_thread(document_of, app)
            self._text = json.dumps(document, separators=(",", ":")).encode()
        return self._text


async def healthz() -> JSONResponse:
    """Report that the process runs."""
    return JSONResponse({"status": "pass"}, media_type=HEALTH)


async def readyz(readiness: Annotated[Readiness, Depends(parts.part(Readiness))]) -> JSONResponse:
    """Report whether the gateway can do its work; 503 names what is missing."""
    faults, said = await readiness.look()
    return JSONResponse(
        {"status": standing(said, failed=bool(faults)), **said}, status_code=503 if faults else 200, media_type=HEALTH
    )


async def openapi(request: Request, document: Annotated[ApiDocument, Depends(parts.part(ApiDocument))]) -> Response:
    """Describe this API (OpenAPI 3.1)."""
    return Response(await document.of(request.app), media_type="application/json")


def make_web(*given: object) -> FastAPI:
    """Make the application with the parts that its routes name by type."""
    app = FastAPI(
        title="Reelay",
        version="1",
        description="Live streams in, clips out.",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # the redirect would name the Host header's host, before any key is checked
        generate_unique_id_function=lambda route: route.name,
    )
    parts.install(app, ApiDocument(), *given)
    app.add_middleware(BodyLimit)
    app.add_middleware(Headers)
    problems.install(app)
    unmatched.install(app, {prefix: facade.render_error for prefix, facade in PREFIXES.items()})
    app.add_api_route("/healthz", healthz, tags=["health"])
    app.add_api_route("/readyz", readyz, tags=["health"])
    app.add_api_route(PATH, openapi, tags=["health"], response_class=JSONResponse)
    for router in native.ROUTERS:
        app.include_router(router)
    for facade in FACADES:
        app.include_router(facade.routes)
    app.include_router(clip_playback_router)
    app.include_router(moments_router)
    app.include_router(delivery_router)
    app.include_router(MOUNT)  # the last: its addresses begin with names that clients choose
    app.router.routes.insert(0, DialectRoutes(DIALECTS, app.router))
    return app
