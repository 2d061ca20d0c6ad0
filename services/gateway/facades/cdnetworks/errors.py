"""Errors in the form of the CDNetworks API: http_code, msg and call_time."""

from __future__ import annotations

from fastapi.responses import JSONResponse

from services.gateway.facades.cdnetworks.models import Answer
from services.gateway.facades.facade import Fault
from services.gateway.http.problems import problem_of
from services.gateway.identity.cdn_accounts import Refused
from shared.errors import Rejected, Unavailable


def error_answer(error: Fault, now_ms: int) -> JSONResponse:
    """Return an error in the form and words of the API."""
    if isinstance(error, Refused):
        return answer(403, f"no request permission: {error}", now_ms)
    if isinstance(error, Unavailable):
        return answer(503, "try again in a moment", now_ms)
    problem = problem_of(error) if isinstance(error, Rejected) else error
    made = answer(problem.status, problem.message, now_ms)
    made.headers.update(problem.headers)
    return made


def answer(status: int, message: str, now_ms: int) -> JSONResponse:
    """Return an answer of the API."""
    body = Answer(http_code=str(status), msg=message, call_time=now_ms)
    return JSONResponse(body.model_dump(), status_code=status)
