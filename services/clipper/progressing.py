"""Tells how far a clip is while its file is cut: in its record, and by an event, every few seconds at most."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from services.clipper.records import Clips
from services.clipper.state import progressed
from shared.messages.base import Accuracy
from shared.messages.clips import ClipProgressed, ClipRecord
from shared.runtime.clock import to_ns

EVERY: Final = timedelta(seconds=3)
STEPS: Final[dict[Accuracy, tuple[int, int]]] = {"segment": (0, 10), "frame": (10, 90)}
"""What part of a clip each file is, in percent; the rest is its delivery."""


def percent_of(accuracy: Accuracy, done: float) -> int:
    """Return how far a clip is when so much of a file is made."""
    start, end = STEPS[accuracy]
    return start + int((end - start) * done)


@dataclass(slots=True)
class Progressing:
    """Tells of one cut. The first time is after a few seconds: most clips are done by then."""

    clips: Clips
    record: ClipRecord
    accuracy: Accuracy
    _told: int = 0
    _next_ns: int = field(init=False)

    def __post_init__(self) -> None:
        self._next_ns = self.clips.clock.monotonic_ns() + to_ns(EVERY)

    async def look(self, done: float) -> None:
        """Tell that so much of the file is made, if it is time to, and there is something new."""
        now_ns, percent = self.clips.clock.monotonic_ns(), percent_of(self.accuracy, done)
        if now_ns < self._next_ns or percent <= self._told:
            return
        self._told, self._next_ns = percent, now_ns + to_ns(EVERY)
        account, clip = self.record.account, self.record.clip

        def change(old: ClipRecord | None) -> ClipRecord | None:
            return progressed(percent)(old) if old else None

        after = await self.clips.bucket.change(f"{account}.{clip}", change)
        if after is not None and after.progress == percent:
            await self.clips.outbox.emit(
                ClipProgressed(
                    account=account, clip=clip, event=after.request.event, label=after.request.label, percent=percent,
                    accuracy=self.accuracy, at_ms=self.clips.clock.now_ms(),
                )
            )  # fmt: skip
