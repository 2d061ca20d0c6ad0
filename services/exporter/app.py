"""The exporter's composition root."""

from __future__ import annotations

from datetime import timedelta

from services.exporter.deliver import Deliverer
from services.exporter.destination import Shelf
from services.exporter.handlers import Handlers
from services.exporter.library import FolderShelf
from services.exporter.retention import expiring
from services.exporter.stored import StoreShelf
from shared.broker import buckets, durables
from shared.broker.kv import Bucket
from shared.messages.exports import ExportRecord
from shared.runtime.service import Service
from shared.store.local import LocalStore
from shared.store.opening import open_store
from shared.store.reserve import Reserve


def build(service: Service) -> None:
    """Connect store, records, destinations and handlers."""
    settings, store = service.settings, open_store(service.settings)
    library: Shelf
    if isinstance(store, LocalStore):
        library = FolderShelf(settings.library_dir, Reserve(settings.library_dir, settings.disk_reserve_bytes))
    else:
        library = StoreShelf(store)
    deliverer = Deliverer(
        store=store,
        exports=Bucket(service.js, buckets.EXPORTS, ExportRecord),
        destinations={"library": library},
        outbox=service.outbox,
        clock=service.clock,
    )
    handlers = Handlers(deliverer, library)
    service.handle(durables.EXPORTER_DELIVER, handlers.deliver, handlers.deliver_died)
    service.handle(durables.EXPORTER_DELETE, handlers.delete)
    keep = timedelta(days=settings.library_retention_days)
    service.beside(lambda: expiring(library, service.clock, keep))
