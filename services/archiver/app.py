"""The archiver's composition root."""

from __future__ import annotations

from services.archiver.compaction import Compactor
from services.archiver.handlers import make_delete, make_job_changed, make_rebuild, make_segment_written, make_sweep
from services.archiver.records import Records
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
    records = Records(service.js)
    compactor = Compactor(service.js, store, records, service.outbox, service.clock)
    retention = Retention(service.js, store, records, service.outbox, service.clock, keep=service.settings.retention)
    sweeper = Sweeper(service.js, records, compactor, retention, service.clock)
    if service.settings.delete_oldest:
        room = RoomMaker(store_reserve(service.settings), records, retention, service.clock)
        service.beside(room.running)
    service.handle(durables.ARCHIVER_SEGMENTS, make_segment_written(compactor, Slots(service.clock)))
    service.handle(durables.ARCHIVER_JOBS, make_job_changed(compactor, records, service.clock))
    service.handle(durables.ARCHIVER_DELETE, make_delete(Removal(store, compactor, retention)))
    service.handle(durables.ARCHIVER_REBUILD, make_rebuild(compactor))
    service.handle(durables.ARCHIVER_SWEEP, make_sweep(sweeper))
