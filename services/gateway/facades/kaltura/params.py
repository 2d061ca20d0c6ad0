"""Parameters of a request: from its path, its query and its body (JSON, a form, or multipart) to one tree; pure.

Each value is a text, None (`name__null`), an object, or a list; clients write numbers and booleans as texts.
Size is bounded by the gateway, depth and count here.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final
from urllib.parse import parse_qsl

from services.gateway.facades.kaltura.errors import KalturaError
from services.gateway.facades.kaltura.multipart import fields_of
from services.gateway.http.bodies import Malformed, parse_json

Value = Any
"""None, a text, a dict of values by text, or a list of values."""
Params = dict[str, Value]
PREFIX: Final = "/api_v3"
DEEPEST: Final = 12
MOST_FIELDS: Final = 2000
_NULL: Final = "__null"
_EMPTY: Final = {"-": ""}


def read_request(path: str, query: str, content_type: str, body: bytes) -> Params:
    """Return all parameters of a request, those of the body before those of the query and the path. KalturaError."""
    try:
        params = of_form(_of_path(path)) | of_form(_pairs(query))
        return params | _of_body(content_type, body)
    except (Malformed, ValueError) as error:  # too many fields, and bytes that are no text, are ValueErrors
        raise unreadable(str(error)) from error


def unreadable(why: str) -> KalturaError:
    """Return the exception for a request that is not understood."""
    return KalturaError("INVALID_PARAMETERS", WHY=why)


def of_form(pairs: Iterable[tuple[str, str]]) -> Params:
    """Return the tree of flat fields `a:b:c`; the later of two of a name. KalturaError."""
    tree: Params = {}
    for name, text in pairs:
        steps = name.split(":")
        if len(steps) > DEEPEST:
            raise unreadable("nested too deeply")
        node = tree
        for step in steps[:-1]:
            following = node.setdefault(step, {})
            if not isinstance(following, dict):
                raise unreadable("a field is both a value and an object")
            node = following
        if isinstance(node.get(steps[-1]), dict):
            raise unreadable("a field is both a value and an object")
        node[steps[-1]] = text
    return {name: _settled(value) for name, value in _nulled(tree).items()}


def of_json(value: Any) -> Params:
    """Return the tree of a JSON object. KalturaError."""
    if not isinstance(value, dict):
        raise unreadable("the body must be a JSON object")
    return {name: _settled(inner) for name, inner in _nulled(value).items()}


def items_of(value: Value) -> list[Value]:
    """Return the items of a list: one, or an object whose names count them (`streams:0:bitrate`), or `item1`."""
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        names = [name for name in value if name not in {"-", "objectType"}]
        return [value[name] for name in sorted(names, key=_counted)]
    return []


def _counted(name: str) -> tuple[int, str]:
    digits = name.removeprefix("item")
    return (int(digits) if digits.isascii() and digits.isdecimal() and len(digits) < 10 else 0, name)


def _settled(value: Any) -> Value:
    if isinstance(value, dict):
        if value == _EMPTY:
            return []
        return {name: _settled(inner) for name, inner in _nulled(value).items()}
    if isinstance(value, list):
        return [_settled(inner) for inner in value]
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "1" if value else "0"
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def _nulled(fields: dict[str, Any]) -> dict[str, Any]:
    """Read `name__null`: the name's value is None."""
    if not any(name.endswith(_NULL) for name in fields):
        return fields
    return {
        name.removesuffix(_NULL): None if name.endswith(_NULL) else value for name, value in fields.items()
    }  # fmt: skip


def _of_path(path: str) -> list[tuple[str, str]]:
    steps = [step for step in path.removeprefix(PREFIX).split("/") if step and step != "index.php"]
    if len(steps) > 2 * MOST_FIELDS:
        raise unreadable("the path is too long")
    names = [step.lower() if step.lower() in {"service", "action"} else step for step in steps[::2]]
    return list(zip(names, [*steps[1::2], ""], strict=False))


def _pairs(text: str) -> list[tuple[str, str]]:
    return parse_qsl(text, keep_blank_values=True, max_num_fields=MOST_FIELDS)


def _of_body(content_type: str, body: bytes) -> Params:
    kind = content_type.partition(";")[0].strip().lower()
    if not body.strip():
        return {}
    if kind == "multipart/form-data":
        fields = fields_of(content_type, body)
        inner = fields.pop("json", "")
        return of_form(fields.items()) | (of_json(parse_json(inner.encode())) if inner else {})
    if kind == "application/x-www-form-urlencoded":
        return of_form(_pairs(body.decode()))
    return of_json(parse_json(body))
