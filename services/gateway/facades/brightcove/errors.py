"""Errors as Brightcove's Live API answers them: `error` for bad requests, `error_code` and `message` for the rest."""

from __future__ import annotations

import uuid
from typing import Final

from fastapi import Request
from fastapi.responses import JSONResponse

from services.gateway.facades.facade import Fault
from services.gateway.http.problems import ApiError, problem_of
from shared.errors import Rejected
from shared.runtime.logging import get_logger

log = get_logger()
NOT_FOUND: Final = ("NOT_FOUND", "Requested resource does not exist")
_AGAIN: Final = {"Retry-After": "2"}


def render(request: Request, error: Fault) -> JSONResponse:
    """Return the answer that reports an error; its `request_id` is in the log."""
    del request
    if isinstance(error, Rejected):
        fault = problem_of(error)
    elif isinstance(error, ApiError):
        fault = error
    else:
        fault = ApiError(503, "try again in a moment", headers=_AGAIN)
    return JSONResponse(_body(fault), status_code=fault.status, headers=fault.headers)


def _body(fault: ApiError) -> dict[str, str]:
    if fault.status == 400:
        return {"error": fault.message}
    ident = uuid.uuid4().hex
    code, message = NOT_FOUND if fault.status == 404 else (fault.code, fault.message)
    log.info("request.refused", request_id=ident, status=fault.status, code=code, reason=fault.message)
    return {"error_code": code, "message": message, "request_id": ident}
