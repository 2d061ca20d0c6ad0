"""The interface of another vendor's API, and how its errors are rendered in its own format."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.routing import APIRoute

from services.gateway.http.problems import ApiError, faults_of
from shared.errors import Rejected, Unavailable
from shared.runtime.logging import get_logger

log = get_logger()
Fault = ApiError | Rejected | Unavailable


class Facade(Protocol):
    """A vendor's API: its routes, its authentication, and its error answers."""

    @property
    def routes(self) -> APIRouter:
        """The routes, of the class that `dialect` makes with `render_error`."""

    async def authenticate(self, request: Request) -> str:
        """Return the account that a request acts for; raise Denied."""

    def render_error(self, request: Request, error: Fault) -> Response:
        """Return the answer that reports an error."""


def dialect(render: Callable[[Request, Fault], Response]) -> type[APIRoute]:
    """Make the class of routes whose errors `render` renders; internal errors are answered as everywhere."""

    class DialectRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def handled(request: Request) -> Response:
                try:
                    return await handle(request)
                except RequestValidationError as error:
                    return render(request, faults_of(error.errors(), skip=1))
                except (ApiError, Rejected) as error:
                    return render(request, error)
                except Unavailable as error:
                    log.warning("request.unavailable", error=str(error))
                    return render(request, error)

            return handled

    return DialectRoute
