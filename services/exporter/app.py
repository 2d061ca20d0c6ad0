"""The exporter's composition root."""

from __future__ import annotations

from datetime import timedelta

from services.exporter.deliver import Deliverer
from services.exporter.handlers import make_delete, make_deliver, make_give_up
from services.exporter.library import Library
from services.exporter.retention import expiring
from shared.kv import Bucket
from shared.messages.exports import ExportRecord
from shared.reserve import Reserve
from shared.service import Service
from shared.store import open_store


def build(service: Service) -> None:
    """Join store, records, destinations and handlers."""
    folder = service.settings.library_dir
    library = Library(folder, Reserve(folder, service.settings.disk_reserve_bytes))
    deliverer = Deliverer(
        store=open_store(service.settings),
        exports=Bucket(service.js, "exports", ExportRecord),
        destinations={"library": library},
        outbox=service.outbox,
        clock=service.clock,
    )
    service.handle("exporter-deliver", make_deliver(deliverer), make_give_up(deliverer))
    service.handle("exporter-delete", make_delete(library))
    keep = timedelta(days=service.settings.library_retention_days)
    service.beside(lambda: expiring(library, service.clock, keep))
