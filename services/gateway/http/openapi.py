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
_SIGNED: Final = ("/play/", "/api/cdn/")
"""Below these, a signature in the path or the query replaces a key."""
_FOREIGN: Final = "/api/"
_FOREIGN_FAILURES: Final = ("400", "403", "404", "413", "429")
FAILURES: Final = {
    "400": ("BadRequest", "A field, a parameter or the body as a whole is wrong; `errors` names fields"),
    "401": ("Unauthorized", "The API key is missing, unknown, expired or revoked"),
    "403": ("Forbidden", "The key lacks the scope, or acts for another account"),
    "404": ("NotFound", "The account has nothing of this id, or it is not there yet (`NOT_READY`)"),
    "409": ("Conflict", "The state of what is there does not allow it"),
    "413": ("TooLarge", "The body is larger than 1 MiB, or a list too long"),
    "429": ("TooMany", "A limit of the account; `Retry-After` says when to come again"),
}
_METHODS: Final = frozenset({"get", "post", "put", "delete", "patch"})
_REFERENCE: Final = "#/components/schemas/{model}"


def document_of(app: FastAPI) -> dict[str, Any]:
    """Make the document of an application; equal on every call."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a route of GET and HEAD has one name; HEAD is dropped below
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes,
            license_info={"name": "Apache License 2.0", "identifier": "Apache-2.0"},
            servers=[{"url": "/", "description": "The gateway that gives this document"}],
        )  # fmt: skip
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
    components["responses"] = {name: _problem(what) for name, what in FAILURES.values()}
    components["responses"]["Failed"] = _problem("What went wrong (RFC 9457)")
    for path, item in document["paths"].items():
        item.pop("head", None)  # implied by GET
        for method, operation in item.items():
            if method in _METHODS:
                _complete(path, method, operation)
    return document


def _complete(path: str, method: str, operation: dict[str, Any]) -> None:
    """Add to an operation how it fails, and that it needs a key."""
    answers = operation["responses"]
    answers.pop("422", None)  # bad parameters are a 400 here
    keyed = path not in _OPEN and not path.startswith(_SIGNED)
    operation["security"] = [{"key": []}, {"bearer": []}] if keyed else []
    if path in _OPEN:
        return
    if path.startswith(_FOREIGN):  # renders errors in its own format
        answers |= {status: answers["200"] | {"description": FAILURES[status][1]} for status in _FOREIGN_FAILURES}
        return
    for status in _failures(path, method, operation, keyed=keyed):
        answers[status] = {"$ref": f"#/components/responses/{FAILURES[status][0]}"}
    answers["default"] = {"$ref": "#/components/responses/Failed"}


def _failures(path: str, method: str, operation: dict[str, Any], *, keyed: bool) -> list[str]:
    found = ["400"] if operation.get("parameters") or "requestBody" in operation else []
    found += ["401"] if keyed else []
    found += ["403"]
    found += ["404"] if "{" in path else []
    found += ["409"] if method != "get" else []
    found += ["413"] if "requestBody" in operation else []
    return [*found, *(["429"] if keyed else [])]


def _problem(description: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": description, "content": {"application/problem+json": {"schema": schema}}}
