"""Ids: 32 hex digits."""

from __future__ import annotations

import re
from typing import Final

_ID: Final = re.compile(r"[0-9a-f]{32}")


def is_id(text: str) -> bool:
    """Return whether a text has the form of an id."""
    return bool(_ID.fullmatch(text))
