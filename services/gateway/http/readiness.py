"""Whether the gateway can do its work."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class Readiness:
    """Checks whether the gateway can do its work; concurrent requests share one check."""

    def __init__(self, check: Callable[[], Awaitable[dict[str, str]]], notes: Callable[[], dict[str, str]]) -> None:
        self._check = check
        self._notes = notes
        self._asked: asyncio.Future[dict[str, str]] | None = None

    async def look(self) -> tuple[dict[str, str], dict[str, str]]:
        """Return the faults, and the faults together with the notes."""
        if self._asked is None or self._asked.done():
            self._asked = asyncio.ensure_future(self._check())
        faults = await asyncio.shield(self._asked)
        return faults, {**self._notes(), **faults}
