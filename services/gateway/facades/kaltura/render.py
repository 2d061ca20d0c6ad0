"""Answers as XML or JSON. A result is a tree: None, texts, numbers, booleans, lists, and objects with `objectType`."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from services.gateway.facades.kaltura.errors import KalturaError

JSON, XML = "1", "2"
TYPES: Final = {JSON: "application/json; charset=utf-8", XML: "text/xml; charset=utf-8"}
_HEAD: Final = '<?xml version="1.0" encoding="utf-8"?>'
_UNWRITABLE: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ESCAPES: Final = {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;", ord("\r"): "&#13;"}


def render(result: Any, form: str, took_s: float) -> bytes:
    """Return an answer; `result` may be, or contain in a list, a KalturaError."""
    if form == JSON:
        return json.dumps(_plain(result), ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    body = f"{_HEAD}<xml><result>{_xml(result)}</result><executionTime>{took_s:.6f}</executionTime></xml>"
    return body.encode("utf-8", "replace")


def _plain(value: Any) -> Any:
    if isinstance(value, KalturaError):
        args = value.args_shown
        return {"code": value.code, "message": str(value), "objectType": "KalturaAPIException", "args": args}
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value


def _xml(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, KalturaError):
        return f"<error>{_xml(_error(value))}</error>"
    if isinstance(value, dict):
        return "".join(f"<{name}>{_xml(inner)}</{name}>" for name, inner in value.items() if inner is not None)
    if isinstance(value, list):
        return "".join(f"<item>{_xml(inner)}</item>" for inner in value)
    if isinstance(value, bool):
        return "1" if value else "0"
    return _UNWRITABLE.sub("\ufffd", str(value)).translate(_ESCAPES)


def _error(error: KalturaError) -> dict[str, Any]:
    args = [
        {"objectType": "KalturaApiExceptionArg", "name": name, "value": text} for name, text in error.args_shown.items()
    ]
    return {"code": error.code, "message": str(error), "objectType": "KalturaAPIException", "args": args}
