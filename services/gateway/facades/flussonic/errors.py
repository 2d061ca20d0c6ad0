"""Errors in the form of the streamer API: `{"errors": [{"id", "status", "code", "title", "source"}]}`."""

from __future__ import annotations

import re
import uuid
from datetime import timedelta
from typing import Any, Final

from fastapi import Request
from fastapi.responses import JSONResponse

from services.gateway.domain.errors import Fault as FieldFault
from services.gateway.domain.errors import Invalid
from services.gateway.facades.facade import Fault
from services.gateway.http.problems import UNAVAILABLE_AGAIN, ApiError, problem_of
from shared.errors import Rejected, Unavailable

TRACE: Final = "X-Trace-Id"
_TRACE: Final = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
CODES: Final = {
    400: "bad_request", 401: "unauthorized", 403: "forbidden", 404: "not_found", 405: "method_not_allowed",
    408: "timeout", 409: "conflict", 412: "precondition_failed", 413: "too_large", 416: "range_not_satisfiable",
    429: "too_many_requests", 500: "internal_error", 503: "service_unavailable",
}  # fmt: skip


def trace_of(request: Request) -> str:
    """Return the request's X-Trace-Id, or the one that it gets; equal on every call for a request."""
    found = getattr(request.state, "trace", "")
    if not found:
        given = request.headers.get(TRACE, "")
        found = request.state.trace = given if _TRACE.fullmatch(given) else str(uuid.uuid4())
    return str(found)


def error_answer(request: Request, error: Fault) -> JSONResponse:
    """Render an error. A fault whose field begins with a slash is in the body, others are in the query."""
    if isinstance(error, Unavailable):
        error = ApiError(
            503, "try again in a moment", headers={"Retry-After": str(UNAVAILABLE_AGAIN // timedelta(seconds=1))}
        )
    problem = problem_of(error) if isinstance(error, Rejected) else error
    faults = error.faults if isinstance(error, Invalid) else (FieldFault("", problem.message),)
    trace = trace_of(request)
    errors = [_one(trace, problem.status, fault) for fault in faults]
    return JSONResponse({"errors": errors}, problem.status, {**problem.headers, TRACE: trace})


def _one(trace: str, status: int, fault: FieldFault) -> dict[str, Any]:
    made: dict[str, Any] = {"id": trace, "status": str(status), "code": CODES.get(status, "bad_request")}
    made["title"] = f"{fault.field.lstrip('/').replace('/', '.')}: {fault.why}" if fault.field else fault.why
    if fault.field:
        made["source"] = {"pointer" if fault.field.startswith("/") else "parameter": fault.field}
    return made
