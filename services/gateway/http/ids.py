"""Ids in paths: anything else is answered as an unknown id."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from services.gateway.domain.errors import no_such
from services.gateway.domain.ids import is_id


def _form(text: str) -> str:
    if not is_id(text):
        raise no_such("resource")  # passes through pydantic, which catches ValueError alone
    return text


HexPath = Annotated[str, AfterValidator(_form)]
