"""Asks the archiver to rebuild index objects that cannot be read, with a growing pause for each (ADR 22)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Protocol

from cachetools import LRUCache

from shared.errors import Unavailable
from shared.messages.base import Message
from shared.messages.media import RecordingRebuild
from shared.messages.recordings import HourSummary
from shared.runtime.clock import Clock
from shared.runtime.logging import get_logger

log = get_logger()
PAUSE_NS: Final = 15_000_000_000
LONGEST_NS: Final = 600_000_000_000
MOST: Final = 1000


class Emits(Protocol):
    """Publishes messages, as shared.broker.bus.Outbox does."""

    async def emit(self, message: Message) -> int:
        """Publish; Unavailable when the broker does not answer."""
        ...


@dataclass(slots=True)
class Asking:
    """Logs unreadable hours and reports them to the archiver, less and less often while they stay lost."""

    outbox: Emits
    clock: Clock
    _asked: LRUCache[str, tuple[int, int]] = field(default_factory=lambda: LRUCache(MOST))

    async def ask(self, account: str, event: str, hour: HourSummary) -> None:
        """Ask for an hour's rebuild, unless it was asked for recently; without the broker, do nothing."""
        now_ns = self.clock.monotonic_ns()
        next_ns, pause_ns = self._asked.get(hour.key, (now_ns, PAUSE_NS))
        if now_ns < next_ns:
            return
        self._asked[hour.key] = (now_ns + pause_ns, min(2 * pause_ns, LONGEST_NS))
        try:
            await self.outbox.emit(
                RecordingRebuild(account=account, event=event, hour=hour.hour, key=hour.key, at_ms=self.clock.now_ms())
            )
        except Unavailable as error:
            self._asked[hour.key] = (now_ns + PAUSE_NS, PAUSE_NS)
            log.warning("recording.rebuild.not_asked", key=hour.key, error=str(error))
        else:
            log.error("recording.rebuild.asked", key=hour.key)
