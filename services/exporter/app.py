"""The exporter's composition root."""

from __future__ import annotations

from datetime import timedelta

from services.exporter.deliver import Deliverer
from services.exporter.destinations.registry import makers, open_shelf
from services.exporter.handlers import Handlers
from services.exporter.records import Exports
from services.exporter.retention import expiring
from services.exporter.trial import Trial
from services.exporter.workshop import Workshop
from shared.broker import buckets, durables
from shared.broker.kv import Bucket
from shared.messages.credentials import CredentialRecord
from shared.messages.exports import CredentialTestRecord, ExportRecord
from shared.runtime.service import Service
from shared.store.opening import open_store


def build(service: Service) -> None:
    """Connect store, records, destinations and handlers."""
    settings, store = service.settings, open_store(service.settings)
    library = open_shelf(settings, store)
    workshop = Workshop(
        makers(settings, library), Bucket(service.js, buckets.CREDENTIALS, CredentialRecord), service.vault
    )
    deliverer = Deliverer(
        store=store,
        exports=Exports(Bucket(service.js, buckets.EXPORTS, ExportRecord), service.clock),
        workshop=workshop,
        outbox=service.outbox,
        clock=service.clock,
        stopping=lambda: not service.started,
    )
    results = Bucket(service.js, buckets.CREDENTIAL_TESTS, CredentialTestRecord)
    handlers = Handlers(deliverer, Trial(workshop, results, service.clock), library)
    service.handle(durables.EXPORTER_DELIVER, handlers.deliver, handlers.deliver_died)
    service.handle(durables.EXPORTER_ABORT, handlers.abort)
    service.handle(durables.EXPORTER_TEST, handlers.test)
    service.handle(durables.EXPORTER_DELETE, handlers.delete)
    keep = timedelta(days=settings.library_retention_days)
    service.beside(lambda: expiring(library, service.clock, keep))
