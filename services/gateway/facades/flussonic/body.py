"""Reads JSON bodies of the streamer API, with errors as pointers."""

from __future__ import annotations

from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from services.gateway.domain.errors import invalid
from services.gateway.facades.flussonic.streams import pointed
from services.gateway.http.bodies import Malformed, parse_json, plain
from services.gateway.http.problems import faults_of

M = TypeVar("M", bound=BaseModel)


async def json_object(request: Request) -> dict[str, Any]:
    """Return a request's body, {} for none; Invalid."""
    try:
        raw = await request.body()
        value = plain(parse_json(raw)) if raw.strip() else {}
    except Malformed as error:
        raise invalid("", str(error)) from error
    if not isinstance(value, dict):
        raise invalid("", "the body must be a JSON object")
    return value


def read(model: type[M], value: Any) -> M:
    """Return a value as a model; Invalid names what is wrong."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise pointed(faults_of(error.errors(include_url=False, include_input=False))) from error
