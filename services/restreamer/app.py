"""The restreamer's composition root."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from services.restreamer.handlers import Handlers
from services.restreamer.holder import MakePlayout, Tools
from services.restreamer.inserts import Inserts
from services.restreamer.leases import Me, Sights
from services.restreamer.manager import Manager
from services.restreamer.playout import Playout, Reporter
from services.restreamer.records import RestreamRecords, restream_key
from services.restreamer.sources import Access, Limits, PictureCache, Sources, Spool
from services.restreamer.sources.apart.children import children
from services.restreamer.sources.apart.confined import Bounds
from services.restreamer.targets import TargetRules, Targets
from services.restreamer.trail import Trails
from shared.broker import buckets, durables
from shared.broker.kv import Bucket
from shared.broker.mirror import Mirror
from shared.messages.jobs import JobRecord
from shared.messages.restreams import PlayoutRecord, RestreamRecord
from shared.recording.asking import Asking
from shared.runtime.service import Service
from shared.security.netguard.tls import trusting
from shared.store.opening import open_store
from shared.store.reserve import Reserve

SPOOL = "spool"
TRAILS = "restreams"


def build(service: Service, make: MakePlayout | None = None) -> None:
    """Connect records, leases, playout and handlers."""
    js, clock = service.js, service.clock
    me = Me.here(service.instance)
    kept = RestreamRecords(Bucket(js, buckets.RESTREAMS, RestreamRecord), service.outbox, clock)
    watched = Inserts(js, Bucket(js, buckets.JOBS, JobRecord))
    trails = Trails(service.settings.data_dir / TRAILS, clock)
    made = make or _playouts(service, trails)
    tools = Tools(kept, Bucket(js, buckets.PLAYOUTS, PlayoutRecord), watched, service.vault, clock, me, made, trails)
    manager = Manager(tools, Sights(me, clock), service.settings.restreams)
    wanted = Mirror(js, buckets.RESTREAMS, RestreamRecord, changed=manager.record_changed)
    playouts = Mirror(js, buckets.PLAYOUTS, PlayoutRecord, changed=manager.playout_changed)

    @contextlib.asynccontextmanager
    async def running() -> AsyncIterator[None]:
        async with manager.running(), playouts.running(), wanted.running():
            yield

    service.beside(running)
    service.handle(durables.RESTREAMER_COMMAND, Handlers(kept).command)


def _playouts(service: Service, trails: Trails) -> MakePlayout:
    settings, clock, store, pictures = service.settings, service.clock, open_store(service.settings), PictureCache()
    allowed = settings.allowed_networks
    folder, limits = settings.data_dir / SPOOL, Limits(spool=settings.source_spool_bytes)
    spool = Spool(folder, Reserve(folder, settings.disk_reserve_bytes))
    tls = trusting(settings.ca_file)
    children().start(Bounds(settings.source_memory_bytes, settings.source_cpu))
    asking = Asking(service.outbox, clock)
    rules = TargetRules(allowed=allowed, srt_ports=settings.srt_out_spans, tls=tls, longest=settings.target_pause)

    def make(record: RestreamRecord, report: Reporter) -> Playout:
        access = Access(
            record.account, service.vault, allowed, store, settings.library_dir, service.js,
            asyncio.get_running_loop(), clock, limits, spool, record.restream, tls, asking,
        )  # fmt: skip
        about = {"account": record.account, "restream": record.restream, "run": record.run}
        trail = trails.begin(restream_key(record.account, record.restream), record.run)
        return Playout(Sources(access, pictures), Targets(rules, clock, about), report, clock, notes=trail)

    return make
