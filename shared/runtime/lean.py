"""Imports that dependencies try for their own command lines and pretty output, refused: nine services start at once.

structlog tries rich (with pygments and attrs), faststream tries uvicorn, httpx tries click and rich, and each does
without when it is not installed. Whoever else imports them gets them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Final

UNWANTED: Final = {"rich": ("structlog", "httpx"), "uvicorn": ("faststream",), "click": ("httpx",)}


class _Refusal(MetaPathFinder):
    def find_spec(
        self, fullname: str, _path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Say that a package is not there when one of those that can do without it asks."""
        if fullname in UNWANTED and _importer() in UNWANTED[fullname]:
            raise ModuleNotFoundError(f"{fullname} is not needed here", name=fullname)
        return None


def _importer() -> str:
    """Name the package whose import statement is running."""
    frame = sys._getframe(2)  # noqa: SLF001  documented for this use; nothing else tells
    while frame.f_back and "importlib" in frame.f_globals.get("__name__", ""):
        frame = frame.f_back
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def refuse_unwanted() -> None:
    """Refuse them from now on, in this process."""
    if not any(isinstance(finder, _Refusal) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Refusal())
