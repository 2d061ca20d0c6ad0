"""Ids in paths: anything but 32 hex digits is an id that nothing has."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator

from services.gateway.http.problems import not_found

_ID: Final = re.compile(r"[0-9a-f]{32}")


def is_id(text: str) -> bool:
    """Tell whether a text has the form of an id."""
    return bool(_ID.fullmatch(text))


def _form(text: str) -> str:
    if not is_id(text):
        raise not_found("resource")  # passes through pydantic, which takes ValueError alone
    return text


HexPath = Annotated[str, AfterValidator(_form)]
