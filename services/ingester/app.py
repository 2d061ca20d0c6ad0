"""The ingester's composition root."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from functools import partial

from services.ingester.access import Access
from services.ingester.disk import Disk
from services.ingester.doors import Doors
from services.ingester.feed import SessionRecords
from services.ingester.holders import Holders
from services.ingester.leases import Lease, Leases
from services.ingester.permits import Permits
from services.ingester.recording import Recording
from services.ingester.salvage import Salvage
from services.ingester.sessions import Sessions
from shared.broker import buckets
from shared.broker.kv import Bucket
from shared.broker.mirror import Mirror
from shared.messages.jobs import JobRecord
from shared.messages.keys import IngestKey
from shared.messages.sessions import EventClock, PublisherStatus, SessionRecord
from shared.runtime.service import Service
from shared.security.backends import Backends
from shared.security.content_keys import ContentKeys
from shared.security.netguard.tls import trusting
from shared.store.opening import open_store
from shared.store.reserve import store_reserve


def build(service: Service) -> None:
    """Connect keys, sessions, recorder and servers."""
    settings, clock, js = service.settings, service.clock, service.js
    store = open_store(settings)
    sessions_of = partial(Bucket, js, buckets.SESSIONS)
    records = SessionRecords(sessions_of(SessionRecord), sessions_of(EventClock), sessions_of(PublisherStatus))
    holders = Holders(lambda: service.broker.config.connection_state.connection)
    leases = Leases(Bucket(js, buckets.LEASES, Lease), service.instance, socket.gethostname(), holders)
    recording = Recording(store, ContentKeys(service.vault), encrypts=settings.content_encryption)

    def takes(job: JobRecord) -> bool:
        return job.accepts_publisher or job.may_go_on(settings.take_up, settings.retention, clock.now_ms())

    backends = Backends(
        settings.allowed_networks, clock, settings.on_publish, tls=trusting(settings.ca_file)
    )  # fmt: skip
    permits = Permits(backends, clock, settings.on_publish)
    sessions = Sessions(records, leases, service.outbox, store, clock, recording, service.instance)

    def changed(key: str, job: JobRecord | None) -> None:
        access.job_changed(key, job)
        if job is None or not takes(job):
            sessions.job_changed(key, job)

    jobs = Mirror(js, buckets.JOBS, JobRecord, changed=changed)
    keys = Mirror(js, buckets.KEYS, IngestKey, pattern="ingest.>")
    stored = Bucket(js, buckets.JOBS, JobRecord), Bucket(js, buckets.KEYS, IngestKey)
    access = Access(jobs, keys, *stored, service.vault, clock, takes)
    disk = Disk(store_reserve(settings), lambda: sessions.end_all("disk_full"))
    doors = Doors(access, sessions, permits, disk, clock, settings.proxy_networks)
    salvage = Salvage(js, records, leases, service.outbox, store, clock, lambda: sessions.active)

    @contextlib.asynccontextmanager
    async def running() -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        access.attach(loop)
        sessions.attach(loop, permits)
        permits.attach(loop)
        async with (
            jobs.running(),
            keys.running(),
            leases.renewing(),
            backends.running(),
            salvage.running(),  # before publishers connect: earlier recordings are published first
            disk.watching(),
            doors.open(settings.host, settings.rtmp_port, settings.srt_port),
        ):
            yield

    service.beside(running)
    service.probes.append(disk.faults)
