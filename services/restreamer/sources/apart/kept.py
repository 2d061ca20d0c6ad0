"""Children kept for a restream's next file: forking one takes 20 ms, longer than many a segment."""

from __future__ import annotations

from threading import Event, Lock
from typing import Final

from services.restreamer.sources.apart.child import Child
from services.restreamer.sources.apart.children import Children, children
from services.restreamer.sources.apart.confined import Bounds

MOST_FILES: Final = 100
"""Files per child; ending the child then frees everything that they left behind."""
MOST_KEPT: Final = 2


class Keep:
    """One restream's children: no two restreams share one. Thread-safe."""

    def __init__(self, most: int = MOST_KEPT, family: Children | None = None) -> None:
        self._family = family
        self._most = most
        self._lock = Lock()
        self._idle: list[Child] = []
        self._closed = False

    def child(self, stop: Event, bounds: Bounds | None = None) -> Child:
        """Return an idle child, or start one. Raise SourceError."""
        family = self._family or children()
        bounds = bounds or family.bounds
        while (kept := self._waiting(bounds)) is not None:
            if kept.alive:
                kept.take(stop)
                return kept
            kept.close()
        return family.child(stop, bounds)

    def give(self, child: Child) -> None:
        """Keep a child that its file has not visibly harmed; end it otherwise."""
        if self._closed or child.files >= MOST_FILES or not child.released():
            child.close()
            return
        with self._lock:
            self._idle.append(child)
            over = self._idle if self._closed else self._idle[: -self._most]
            self._idle = [] if self._closed else self._idle[-self._most :]
        for other in over:
            other.close()

    def close(self) -> None:
        """End the idle children; busy ones end when they are given back."""
        with self._lock:
            self._closed, idle, self._idle = True, self._idle, []
        for child in idle:
            child.close()

    def _waiting(self, bounds: Bounds) -> Child | None:
        with self._lock:
            for number, child in enumerate(self._idle):
                if child.bounds == bounds:
                    return self._idle.pop(number)
        return None
