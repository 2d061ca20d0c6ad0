"""Records a publication, and tells why it ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from services.ingester.feed import Feed
from services.ingester.recorder.loop import NothingRecordable, record
from services.ingester.recorder.model import NotMedia, never
from services.ingester.recorder.stats import PublisherStats
from services.ingester.refusals import PublishRefused
from services.ingester.sessions import Publication, Ticket
from services.ingester.spoken import spoken
from shared.errors import Unavailable
from shared.messages.live import EndReason
from shared.runtime.clock import Clock
from shared.runtime.logging import get_logger
from shared.store import MediaStore, StoreFull

log = get_logger()
# What the servers call the ends that they see.
_REASONS: Final[Mapping[str, EndReason]] = {
    "unpublished": "unpublished",
    "silent": "silent",
    "protocol": "bad_media",
    "limit": "bad_media",
    "not_mpegts": "bad_media",
    "unsupported": "bad_media",
    "closed": "stopped",
}


class Tap:
    """A publication whose last sign of life can be asked for from any thread."""

    def __init__(self, publication: Publication, clock: Clock) -> None:
        self._publication = publication
        self._clock = clock
        self.heard_ns = clock.monotonic_ns()

    def __getattr__(self, name: str) -> Any:
        """Return what else the publication has: its format, and an FLV source's `next_run`."""
        return getattr(self._publication, name)

    def read(self, size: int = -1, /) -> bytes:
        """Wait for bytes."""
        data = self._publication.read(size)
        if data:
            self.heard_ns = self._clock.monotonic_ns()
        return data


class Recording:
    """Runs the recorder in a publication's thread."""

    def __init__(self, store: MediaStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def __call__(self, publication: Publication, feed: Feed, ticket: Ticket) -> EndReason:
        """Record until the publication ends; whatever happens, what was recorded is kept."""
        tap = Tap(publication, self._clock)
        ticket.heard_ns = lambda: tap.heard_ns
        prefix, stats = feed.prefix, ticket.stats

        def warn(tracks: tuple[str, ...], *, recorded: bool = True) -> None:
            log.warning("session.unsupported", tracks=tracks, recorded=recorded)
            feed.warned(tracks, recorded=recorded)

        stats.warn = warn
        try:
            record(tap, feed, lambda name: self._store.begin(f"{prefix}/{name}"), self._clock, never(), stats=stats)
        except NothingRecordable:
            warn(stats.unsupported, recorded=False)
            ticket.refusal = PublishRefused(f"{', '.join(stats.unsupported)} cannot be recorded", "unsupported")
            return "bad_media"
        except NotMedia as error:
            log.warning("session.bad_media", error=str(error))
            return "bad_media"
        except StoreFull as error:
            log.error("session.disk_full", error=str(error))
            return "disk_full"
        except Unavailable as error:
            log.error("session.store_failed", error=str(error))
            return "disk_full"
        return self._ended(publication, stats, warn)

    def _ended(self, publication: Publication, stats: PublisherStats, warn: Callable[..., None]) -> EndReason:
        """Tell how the server saw the end; it may have ended what cannot be recorded before a byte was read."""
        seen = getattr(publication, "end_reason", None) or getattr(publication, "reason", None)
        if seen == "unsupported":
            stats.meet(map(spoken, getattr(publication, "unfit", ())), warn=False)
            warn(stats.unsupported, recorded=False)
        return _REASONS.get(str(seen), "disconnected")
