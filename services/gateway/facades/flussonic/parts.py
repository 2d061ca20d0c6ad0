"""The parts that the facade needs, for the composition root."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from nats.js import JetStreamContext

from services.gateway.delivery.mpegts import Remuxing
from services.gateway.domain.jobs.jobs import Jobs
from services.gateway.domain.receivers import Receivers
from services.gateway.facades.flussonic.base import Server
from services.gateway.facades.flussonic.dvr import Dvr
from services.gateway.facades.flussonic.exports import DvrExports
from services.gateway.facades.flussonic.exports import Parts as ExportParts
from services.gateway.facades.flussonic.listing import Listing
from services.gateway.facades.flussonic.play.admission import Admission
from services.gateway.facades.flussonic.sinks import Sinks
from services.gateway.facades.flussonic.streams import VENDOR, Streams
from services.gateway.facades.flussonic.views import Ingest, StreamViews
from services.gateway.http.public_url import PublicUrl
from services.gateway.identity.aliases import Aliases
from shared.runtime.clock import Clock
from shared.security.backends import Backends
from shared.security.secrets import Vault

__all__ = [
    "Admission",
    "Dvr",
    "DvrExports",
    "ExportParts",
    "Ingest",
    "Sinks",
    "Streams",
    "admission_of",
    "parts_of",
    "streams_of",
]


def streams_of(
    js: Callable[[], JetStreamContext], jobs: Jobs, vault: Vault, clock: Clock, receivers: Receivers
) -> Streams:
    """Make the streams."""
    return Streams(jobs, Aliases(js, VENDOR), vault, clock, receivers)


def admission_of(backends: Backends, vault: Vault, clock: Clock, usual: str) -> Admission:
    """Make what asks about players; `usual` is the URL that is asked where a stream has none."""
    return Admission(backends, vault, clock, usual)


def parts_of(
    streams: Streams, dvr: Dvr, public: PublicUrl, clock: Clock, ingest: Ingest, retention: timedelta
) -> tuple[object, ...]:
    """Make what the routes need."""
    views = StreamViews(streams, ingest, retention)
    return streams, dvr, views, Listing(streams, views, public), Server(clock), Remuxing()
