"""How much of a cut is done, for whoever waits for it."""

from __future__ import annotations

from threading import Event
from typing import Final, NamedTuple


class Share(NamedTuple):
    """The part of the work, of 1, that a step is: from where to where."""

    start: float
    end: float


ALL: Final = Share(0, 1)
RENDERING: Final = Share(0, 0.5)
WRITING: Final = Share(0.5, 1)


class Progress(Event):
    """Ends a cut when it is set; `done` only grows, from 0 to 1. One thread writes it, others read it."""

    def __init__(self) -> None:
        super().__init__()
        self.done = 0.0


def note(stop: Event, share: Share, part: int, whole: int) -> None:
    """Record how much of a step is done, for a cut that somebody watches."""
    if isinstance(stop, Progress) and whole > 0:
        stop.done = max(stop.done, share.start + (share.end - share.start) * min(part / whole, 1))
