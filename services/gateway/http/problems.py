"""Errors as answers: RFC 9457 problem bodies that also carry Brightcove's error, error_code and message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from services.gateway.domain.errors import (
    Denied,
    Fault,
    Invalid,
    NoAnswer,
    NotFound,
    NotReady,
    StateConflict,
    TooLarge,
    TooMany,
)
from services.gateway.http.wording import plain_words
from shared.errors import ReelayError, Rejected, Unavailable
from shared.runtime.logging import get_logger
from shared.security.content_keys import KeyUnknown

log = get_logger()
UNAVAILABLE_AGAIN: Final = timedelta(seconds=2)
CODES: Final = {
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "RESOURCE_NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    408: "REQUEST_TIMEOUT",
    409: "CONFLICT",
    412: "PRECONDITION_FAILED",
    413: "BODY_TOO_LARGE",
    414: "TARGET_TOO_LONG",
    416: "RANGE_NOT_SATISFIABLE",
    429: "RATE_LIMITED",
    431: "HEAD_TOO_LARGE",
    500: "INTERNAL_ERROR",
    503: "SERVICE_UNAVAILABLE",
    504: "NO_ANSWER",
}


class FieldError(BaseModel):
    """What is wrong with one field of the request."""

    field: str
    message: str


class Problem(BaseModel):
    """The body of every error answer, as application/problem+json."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[FieldError] = []
    error: str
    error_code: str
    message: str


class ApiError(ReelayError):
    """An error answer; `code` is for programs, `message` for people."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str = "",
        fields: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code or CODES.get(status, "BAD_REQUEST")
        self.fields = tuple(fields)
        self.headers = dict(headers or {})


STATUS: Final[Mapping[type[Rejected], int]] = {
    Invalid: 400, NotFound: 404, StateConflict: 409, TooLarge: 413, TooMany: 429, Denied: 403,
    NoAnswer: 504, KeyUnknown: 409,
}  # fmt: skip


def status_of(error: Rejected) -> int:
    """Return the HTTP status of an error of the domain."""
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 400)


def _retry_after(wait: timedelta) -> dict[str, str]:
    """Return the header (RFC 9110, 10.2.3): whole seconds, at least one."""
    return {"Retry-After": str(max(1, -(-wait // timedelta(seconds=1))))}


def problem_of(error: Rejected) -> ApiError:
    """Return the error answer for an error of the domain."""
    code, headers = "", dict[str, str]()
    fields: tuple[FieldError, ...] = ()
    if isinstance(error, NotReady | TooMany):
        headers = _retry_after(error.wait)
        code = error.code if isinstance(error, TooMany) else "NOT_READY"
    if isinstance(error, Invalid):
        code = error.code
        fields = tuple(FieldError(field=fault.field, message=fault.why) for fault in error.faults if fault.field)
    return ApiError(status_of(error), str(error), code=code, fields=fields, headers=headers)


def answer(error: ApiError) -> JSONResponse:
    """Render an error as a problem body."""
    body = Problem(
        title=HTTPStatus(error.status).phrase,
        status=error.status,
        detail=error.message,
        errors=list(error.fields),
        error=error.message,
        error_code=error.code,
        message=error.message,
    )
    return JSONResponse(
        body.model_dump(), status_code=error.status, headers=error.headers, media_type="application/problem+json"
    )


def field_path(location: Sequence[int | str]) -> str:
    """Return a field's path as its sender knows it: `outputs[0].start_time`."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or "body"


def faults_of(errors: Sequence[Mapping[str, Any]], *, skip: int = 0) -> Invalid:
    """Return pydantic's errors in plain words, at most 20; drop the first `skip` parts of each location."""
    return Invalid(*(Fault(field_path(e["loc"][skip:])[:200], plain_words(e)) for e in errors[:20]))


async def _api_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ApiError)  # noqa: S101  registered for it alone
    return answer(error)


async def _parameters(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101  registered for it alone
    return answer(problem_of(faults_of(error.errors(), skip=1)))


async def _unavailable(_: Request, error: Exception) -> JSONResponse:
    log.warning("request.unavailable", error=str(error))
    return answer(ApiError(503, "try again in a moment", headers=_retry_after(UNAVAILABLE_AGAIN)))


async def _rejected(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Rejected)  # noqa: S101  registered for it alone
    return answer(problem_of(error))


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    route = request.scope.get("route")  # its template: a path may hold a token
    log.error("request.failed", route=getattr(route, "path", ""), error=type(error).__name__)
    return answer(ApiError(500, "something went wrong on our side"))


def install(app: FastAPI) -> None:
    """Let an app answer the errors of its routes with problem bodies."""
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(RequestValidationError, _parameters)
    app.add_exception_handler(Unavailable, _unavailable)
    app.add_exception_handler(Rejected, _rejected)
    app.add_exception_handler(Exception, _unexpected)
