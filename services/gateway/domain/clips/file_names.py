"""Names of clips' files."""

from __future__ import annotations

import re
from typing import Final

_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")


def file_name(label: str, clip: str) -> str:
    """Return a safe, unique file name from a clip's label."""
    slug = _UNSAFE.sub("-", label).strip("-._")[:80].rstrip("-._")
    return f"{slug}-{clip}.mp4" if slug else f"{clip}.mp4"
