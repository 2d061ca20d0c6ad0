"""The parts that the facade needs, for the composition root."""

from __future__ import annotations

from collections.abc import Callable

from nats.js import JetStreamContext

from services.gateway.delivery.addresses import JobAddresses
from services.gateway.domain.quotas import Quotas
from services.gateway.facades.kaltura.engine import Engine
from services.gateway.facades.kaltura.entries import Entries
from services.gateway.facades.kaltura.further import Further
from services.gateway.facades.kaltura.live_stream import LiveStream
from services.gateway.facades.kaltura.nodes import Nodes
from services.gateway.facades.kaltura.registrations import Registrations
from services.gateway.facades.kaltura.rpc import Rpc
from services.gateway.facades.kaltura.sessions import Sessions
from services.gateway.facades.kaltura.views import Views
from services.gateway.identity.partners import Partners
from shared.runtime.clock import Clock

__all__ = ["Entries", "rpc_of"]


def rpc_of(
    js: Callable[[], JetStreamContext], entries: Entries, partners: Partners, addresses: JobAddresses, quotas: Quotas,
    clock: Clock,
) -> Rpc:  # fmt: skip
    """Make what the routes need."""
    sessions, views = Sessions(js, partners, clock), Views(addresses)
    registrations, nodes = Registrations(js, clock), Nodes(js, clock)
    live = LiveStream(entries, registrations, views, clock)
    engine, further = Engine(entries, registrations, nodes, views), Further(sessions, entries)
    return Rpc(live.table() | engine.table() | further.table(), sessions, quotas, clock)
