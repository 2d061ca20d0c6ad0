"""The archiver's composition root."""

from __future__ import annotations

from services.archiver.compaction import Compactor
from services.archiver.handlers import Handlers
from services.archiver.records import RecordingRecords
from services.archiver.removal import Removal
from services.archiver.retention import Retention
from services.archiver.room import RoomMaker
from services.archiver.slots import Slots
from services.archiver.sweep import Sweeper
from shared.broker import durables
from shared.runtime.service import Service
from shared.store.opening import open_store
from shared.store.reserve import store_reserve


def build(service: Service) -> None:
    """Join store, records and handlers."""
    store = open_store(service.settings)
    records = RecordingRecords(service.js)
    compactor = Compactor(service.js, store, records, service.outbox, service.clock)
    retention = Retention(service.js, store, records, service.outbox, service.clock, keep=service.settings.retention)
    sweeper = Sweeper(service.js, records, compactor, retention, service.clock)
    if service.settings.delete_oldest:
        room = RoomMaker(store_reserve(service.settings), records, retention, service.clock)
        service.beside(room.running)
    removal = Removal(store, compactor, retention)
    handlers = Handlers(compactor, Slots(service.clock), records, removal, sweeper, service.clock)
    service.handle(durables.ARCHIVER_SEGMENTS, handlers.segment)
    service.handle(durables.ARCHIVER_JOBS, handlers.job)
    service.handle(durables.ARCHIVER_DELETE, handlers.delete)
    service.handle(durables.ARCHIVER_REBUILD, handlers.rebuild)
    service.handle(durables.ARCHIVER_SWEEP, handlers.sweep)
