"""The clipper's composition root."""

from __future__ import annotations

from datetime import timedelta

from services.clipper.cutter import ClipCutter
from services.clipper.edits.materials import Materials
from services.clipper.handlers import Handlers
from services.clipper.images.moments import Moments
from services.clipper.images.work import ImageWork
from services.clipper.leftovers import sweeping
from services.clipper.ranges import SourceRanges
from services.clipper.recording_reader import RecordingReader
from services.clipper.records import Clips
from services.clipper.removal import Removal
from services.clipper.work import ClipWork
from shared.broker import buckets, durables
from shared.broker.kv import Bucket
from shared.messages.clips import ClipRecord
from shared.messages.jobs import JobRecord
from shared.messages.pictures import PictureRecord
from shared.messages.sessions import SessionRecord
from shared.recording.asking import Asking
from shared.recording.clear_store import ClearStore
from shared.runtime.service import Service
from shared.runtime.settings import Settings
from shared.security.content_keys import ContentKeys
from shared.security.netguard.http import GuardedTransport
from shared.security.netguard.tls import trusting
from shared.store.library import Library
from shared.store.opening import open_library, open_store
from shared.store.reserve import Reserve, store_reserve


def build(service: Service) -> None:
    """Join store, records, cutter and handlers."""
    store, keys = open_store(service.settings), ContentKeys(service.vault)
    ranges = SourceRanges(service.js, service.clock)
    clips = Clips(Bucket(service.js, buckets.CLIPS, ClipRecord), ranges, service.outbox, service.clock)
    jobs, sessions = Bucket(service.js, buckets.JOBS, JobRecord), Bucket(service.js, buckets.SESSIONS, SessionRecord)
    asking = Asking(service.outbox, service.clock)
    source = RecordingReader(service.js, store, jobs, sessions, service.clock, asking)
    images = ImageWork(clips, store, _spool_reserve(service.settings), lambda: not service.started, service.vault)
    materials = _materials(service, open_library(service.settings, store))
    work = ClipWork(
        clips,
        source,
        ClipCutter(store, keys.find, service.vault),
        service.outbox,
        _cutting_reserve(service.settings),
        images,
        materials,
    )
    keep = timedelta(days=service.settings.clip_retention_days)
    removal = Removal(clips.bucket, ranges, store, service.clock, keep)
    pictures = Bucket(service.js, buckets.PICTURES, PictureRecord)
    moments = Moments(source, ClearStore(store, keys), pictures, service.clock, store_reserve(service.settings))
    handlers = Handlers(work, removal, moments)
    service.beside(lambda: sweeping(store, service.clock))
    service.beside(removal.running)
    service.beside(moments.sweeping)
    service.handle(durables.CLIPPER_CREATE, handlers.create, handlers.create_died)
    service.handle(durables.CLIPPER_REFINE, handlers.refine, handlers.cut_died)
    service.handle(durables.CLIPPER_COPY_LONG, handlers.copy_long, handlers.cut_died)
    service.handle(durables.CLIPPER_REFINE_LONG, handlers.refine_long, handlers.cut_died)
    service.handle(durables.CLIPPER_PICTURE, handlers.picture, handlers.picture_died)
    service.handle(durables.CLIPPER_MOMENT, handlers.moment, handlers.moment_died)
    service.handle(durables.CLIPPER_CANCEL, handlers.cancel)
    service.handle(durables.CLIPPER_DELETE, handlers.delete)
    service.handle(durables.CLIPPER_JOBS, handlers.job)
    service.handle(durables.CLIPPER_SENDING, handlers.sending)
    service.handle(durables.CLIPPER_DELIVERED, handlers.delivered)
    service.handle(durables.CLIPPER_UNDELIVERED, handlers.undelivered)
    service.handle(durables.CLIPPER_ABORTED, handlers.aborted)


def _materials(service: Service, library: Library) -> Materials:
    transport = GuardedTransport(service.settings.allowed_networks, verify=trusting(service.settings.ca_file))
    return Materials(transport, library, service.vault, service.clock, service.settings.caption_font)


def _cutting_reserve(settings: Settings) -> Reserve:
    """Return what is kept free where clips are cut: on the store's disk, or on this machine's if the store is in S3."""
    return _spool_reserve(settings) if settings.store.startswith("s3://") else store_reserve(settings)


def _spool_reserve(settings: Settings) -> Reserve:
    """Return what is kept free where files of a store in S3 are copied to; nothing of a local store is copied."""
    return Reserve(settings.data_dir, settings.disk_reserve_bytes if settings.store.startswith("s3://") else 0)
