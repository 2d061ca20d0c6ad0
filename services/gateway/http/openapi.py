"""The OpenAPI document of the gateway, generated from its routes; served, and committed as contracts/openapi.json."""

from __future__ import annotations

import warnings
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from services.gateway.http.bodies import DOCUMENTED
from services.gateway.http.problems import Problem

PATH: Final = "/v1/openapi.json"
_OPEN: Final = frozenset({"/healthz", "/readyz", PATH})
_METHODS: Final = frozenset({"get", "post", "put", "delete", "patch"})
_REFERENCE: Final = "#/components/schemas/{model}"


def document_of(app: FastAPI) -> dict[str, Any]:
    """Make the document of an application; equal on every call."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a route of GET and HEAD has one name; HEAD is dropped below
        document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    bodies = sorted(DOCUMENTED.values(), key=lambda model: model.__name__)
    schemas.update(models_json_schema([(m, "validation") for m in bodies], ref_template=_REFERENCE)[1]["$defs"])
    schemas.update(models_json_schema([(Problem, "serialization")], ref_template=_REFERENCE)[1]["$defs"])
    components["securitySchemes"] = {
        "key": {"type": "apiKey", "in": "header", "name": "X-API-KEY"},
        "bearer": {"type": "http", "scheme": "bearer"},
    }
    for path, item in document["paths"].items():
        item.pop("head", None)  # goes without saying beside GET
        for method, operation in item.items():
            if method in _METHODS:
                _complete(path, operation)
    return document


def _complete(path: str, operation: dict[str, Any]) -> None:
    """Say how the operation fails, and that it needs a key."""
    operation["responses"].pop("422", None)  # bad parameters are a 400 here
    if path in _OPEN:
        return
    operation["security"] = [{"key": []}, {"bearer": []}]
    schema = {"$ref": "#/components/schemas/Problem"}
    operation["responses"]["default"] = {
        "description": "What went wrong (RFC 9457)",
        "content": {"application/problem+json": {"schema": schema}},
    }
