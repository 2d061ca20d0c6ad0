"""Answers to requests that no route takes: 404 for the path, or 405 for the method, with those that the path has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.routing import Match

from services.gateway.http.problems import ApiError, answer

Render = Callable[[Request, ApiError], Response]
METHODS: Final = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
_MESSAGES: Final = {404: "there is nothing at this path", 405: "this path does not take that method"}


def methods_of(request: Request) -> list[str]:
    """Return the methods that a request's path takes (RFC 9110, 10.2.1)."""
    here = [route for route in request.app.router.routes if route.matches(request.scope)[0] is not Match.NONE]

    def taken(method: str) -> bool:
        scope = {**request.scope, "method": method}
        return any(route.matches(scope)[0] is Match.FULL for route in here)

    return [method for method in METHODS if taken(method)]


def install(app: FastAPI, renders: Mapping[str, Render]) -> None:
    """Let an app answer such requests: below a prefix of `renders` in its form, elsewhere as problems."""

    async def unmatched(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101  registered for it alone
        message = _MESSAGES.get(error.status_code, str(error.detail))
        headers = dict(error.headers or {})
        if error.status_code == 405:
            headers["Allow"] = ", ".join(methods_of(request))
        made = ApiError(error.status_code, message, headers=headers)
        form = next((form for prefix, form in renders.items() if request.url.path.startswith(prefix)), None)
        return form(request, made) if form else answer(made)

    app.add_exception_handler(HTTPException, unmatched)
