"""The names in folders, in order, cached as long as their folders do not change."""

from __future__ import annotations

import os
import re
import threading
import time
from bisect import bisect_right
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Final

from cachetools import LRUCache

from shared.runtime.clock import to_ns

MOST_NAMES: Final = 1_000_000
SETTLED: Final = timedelta(seconds=2)
"""A folder that changed later than this before it was read may have changed again at the same time of its clock."""
_SETTLED_NS: Final = to_ns(SETTLED)


class Names:
    """Lists folders by name; a page from 100,000 files is as fast as from ten, unless the folder has changed."""

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self._pattern = pattern
        # a folder that is larger than all of it is kept, too, alone
        self._kept: LRUCache[Path, tuple[int, list[str]]] = LRUCache(
            MOST_NAMES, lambda kept: min(len(kept[1]), MOST_NAMES)
        )
        self._lock = threading.Lock()

    def after(self, folder: Path, name: str) -> Iterator[str]:
        """Yield the names after one, in order; nothing when there is no such folder. Any thread may call it."""
        names = self._read(folder)
        for position in range(bisect_right(names, name), len(names)):
            yield names[position]

    def _read(self, folder: Path) -> list[str]:
        try:
            changed_ns = folder.stat().st_mtime_ns
            with self._lock:
                kept = self._kept.get(folder)
                if kept and kept[0] == changed_ns:
                    return kept[1]
            names = sorted(entry.name for entry in os.scandir(folder) if self._pattern.fullmatch(entry.name))
        except FileNotFoundError:
            return []
        if time.time_ns() - changed_ns > _SETTLED_NS:
            self._keep(folder, changed_ns, names)
        return names

    def _keep(self, folder: Path, changed_ns: int, names: list[str]) -> None:
        with self._lock:
            self._kept[folder] = changed_ns, names
