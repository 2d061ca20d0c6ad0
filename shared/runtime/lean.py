"""Refuse optional imports of dependencies (command lines, pretty output): nine services start at once.

structlog tries rich (with pygments and attrs), faststream tries uvicorn, httpx tries click and rich, and each works
without when it is not installed. Other importers get these packages.
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
        """Raise ModuleNotFoundError when a package that works without `fullname` imports it."""
        if fullname in UNWANTED and _importer() in UNWANTED[fullname]:
            raise ModuleNotFoundError(f"{fullname} is not needed here", name=fullname)
        return None


def _importer() -> str:
    """Return the name of the package whose import statement is running."""
    frame = sys._getframe(2)  # noqa: SLF001  documented for this use; there is no other way
    while frame.f_back and "importlib" in frame.f_globals.get("__name__", ""):
        frame = frame.f_back
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def refuse_unwanted() -> None:
    """Refuse these imports from now on, in this process."""
    if not any(isinstance(finder, _Refusal) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Refusal())
