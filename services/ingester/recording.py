"""Records a publication, and returns why it ended."""

from __future__ import annotations

from services.ingester.feed import SessionFeed
from services.ingester.publication import NothingRecordable, NotMedia, Publication
from services.ingester.recorder.loop import record
from services.ingester.refusals import PublishRefused
from services.ingester.sessions import Ticket
from shared.errors import Unavailable
from shared.messages.live import EndReason
from shared.runtime.logging import get_logger
from shared.security.content_keys import ContentKeys
from shared.store import MediaStore, StoreFull

log = get_logger()


class Recording:
    """Runs the recorder in a publication's thread."""

    def __init__(self, store: MediaStore, keys: ContentKeys, *, encrypts: bool = False) -> None:
        self._store = store
        self._keys = keys
        self._encrypts = encrypts

    def __call__(self, publication: Publication, feed: SessionFeed, ticket: Ticket) -> EndReason:
        """Record until the publication ends, and return why; the recording is kept in any case."""
        frames = publication.frames()
        ticket.heard_ns = lambda: publication.heard_ns
        prefix, stats = feed.prefix, ticket.stats
        wished = ticket.entry.encrypted
        key = self._keys.fresh(prefix) if (self._encrypts if wished is None else wished) else None

        def warn(tracks: tuple[str, ...], *, recorded: bool = True) -> None:
            log.warning("session.unsupported", tracks=tracks, recorded=recorded)
            feed.warned(tracks, recorded=recorded)

        stats.warn = warn
        try:
            record(frames, feed, lambda name: self._store.begin(f"{prefix}/{name}"), stats=stats, key=key)
        except NothingRecordable as error:
            stats.meet(error.tracks, warn=False)
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
        return publication.end_reason or "disconnected"
