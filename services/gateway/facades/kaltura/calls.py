"""From parameters to calls: one, or those of a multirequest, which may name results of earlier ones. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from services.gateway.facades.kaltura.errors import KalturaError
from services.gateway.facades.kaltura.params import Params, Value

MOST_CALLS: Final = 50
MOST_REFERENCES: Final = 200
MULTIREQUEST: Final = "multirequest"
INHERITED: Final[tuple[str, ...]] = ("ks", "partnerId", "clientTag", "apiVersion", "language")
_COUNT: Final = re.compile(r"\d{1,4}", re.ASCII)
_REFERENCE: Final = re.compile(r"\{(\d{1,4}):result(?::([^{}]{1,256}))?\}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Call:
    """A call; service and action in lower case."""

    service: str
    action: str
    params: Params = field(repr=False)


@dataclass(frozen=True, slots=True)
class Asked:
    """The calls of a request; of a multirequest, the answer is a list."""

    calls: tuple[Call, ...]
    multiple: bool


def format_of(params: Params) -> str:
    """Return the format that a request asks for; XML unless it names one."""
    return _text(params, "format") or "2"


def asked_of(params: Params) -> Asked:
    """Return what a request asks for. KalturaError."""
    if _text(params, "service").lower() != MULTIREQUEST:
        return Asked((_call(params),), multiple=False)
    numbered = sorted((int(name), value) for name, value in params.items() if _COUNT.fullmatch(name))
    if len(numbered) > MOST_CALLS:
        raise KalturaError("INVALID_PARAMETERS", WHY=f"more than {MOST_CALLS} requests in one")
    shared = {name: params[name] for name in INHERITED if name in params}
    calls = [_call(shared | value) for _, value in numbered if isinstance(value, dict)]
    if sum(len(_REFERENCE.findall(text)) for call in calls for text in _texts(call.params)) > MOST_REFERENCES:
        raise KalturaError("INVALID_PARAMETERS", WHY=f"more than {MOST_REFERENCES} references")
    return Asked(tuple(calls), multiple=True)


def resolved(params: Params, results: Sequence[Any]) -> Params:
    """Return parameters with the results that they name; KalturaError when one is not there, or an error."""
    return {name: _resolve(value, results) for name, value in params.items()}


def _call(params: Params) -> Call:
    service, action = _text(params, "service"), _text(params, "action")
    if not service:
        raise KalturaError("SERVICE_NOT_SPECIFIED")
    own = {name: value for name, value in params.items() if name not in {"service", "action", "format", "kalsig"}}
    return Call(service.lower(), action.lower(), own)


def _text(params: Params, name: str) -> str:
    value = params.get(name)
    return value.strip() if isinstance(value, str) else ""


def _texts(value: Value) -> list[str]:
    found, level = [], [value]
    while level:
        inner = level.pop()
        if isinstance(inner, str):
            found.append(inner)
        elif isinstance(inner, dict):
            level += inner.values()
        elif isinstance(inner, list):
            level += inner
    return found


def _resolve(value: Value, results: Sequence[Any]) -> Value:
    if isinstance(value, dict):
        return {name: _resolve(inner, results) for name, inner in value.items()}
    if isinstance(value, list):
        return [_resolve(inner, results) for inner in value]
    if not isinstance(value, str):
        return value
    whole = _REFERENCE.fullmatch(value)
    return _found(whole, results) if whole else _REFERENCE.sub(lambda match: _found(match, results), value)


def _found(match: re.Match[str], results: Sequence[Any]) -> str:
    """Return a value of an earlier result as a text; a list and an object have none."""
    number = int(match[1])
    if not 1 <= number <= len(results):
        raise KalturaError("INVALID_MULTIREQUEST_TOKEN")
    value = results[number - 1]
    for step in match[2].split(":") if match[2] else ():
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and _COUNT.fullmatch(step) and int(step) < len(value):
            value = value[int(step)]
        else:
            raise KalturaError("INVALID_MULTIREQUEST_TOKEN")
    if isinstance(value, bool):
        return "1" if value else "0"
    if not isinstance(value, str | int | float):
        raise KalturaError("INVALID_MULTIREQUEST_TOKEN")
    return str(value)
