"""The gateway's composition root."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from fastapi import FastAPI
from pydantic import SecretStr

from services.gateway.delivery import Delivery
from services.gateway.delivery.addresses import IngestServer, JobAddresses
from services.gateway.delivery.clips.playback import ClipPlayback
from services.gateway.delivery.coverage import Coverage
from services.gateway.delivery.downloads import Downloads
from services.gateway.delivery.moments.pictures import MomentPictures
from services.gateway.domain.clips.bounds import Bounds
from services.gateway.domain.clips.clips import Clips, Outward
from services.gateway.domain.clips.ordered import OrderedClips
from services.gateway.domain.clips.timecode_search import TimecodeIndex
from services.gateway.domain.clips.timecodes import Timecodes
from services.gateway.domain.destinations.destinations import Destinations
from services.gateway.domain.exports.exports import Exports
from services.gateway.domain.exports.trials import Trials
from services.gateway.domain.jobs.jobs import Jobs
from services.gateway.domain.jobs.state import GoesOn
from services.gateway.domain.library.library import LibraryFiles
from services.gateway.domain.locks import Locks
from services.gateway.domain.quotas import Limits, Quotas
from services.gateway.domain.receivers import Receivers
from services.gateway.domain.recordings import Recordings
from services.gateway.domain.restreams.outputs import Outputs
from services.gateway.domain.restreams.parts import Parts
from services.gateway.domain.restreams.restreams import Restreams
from services.gateway.domain.subscriptions.contexts import Contexts
from services.gateway.domain.subscriptions.sweep import Sweep
from services.gateway.domain.webhooks.deliveries import Deliveries
from services.gateway.domain.webhooks.webhooks import Webhooks
from services.gateway.facades.brightcove.output_view import OutputViews
from services.gateway.facades.brightcove.view import Views as BrightcoveViews
from services.gateway.facades.cdnetworks.tasks import Tasks
from services.gateway.facades.flussonic import parts as flussonic
from services.gateway.facades.kaltura import parts as kaltura
from services.gateway.handlers import Handlers
from services.gateway.http.broker import BrokerLink
from services.gateway.http.openapi import document_of
from services.gateway.http.public_url import PublicUrl
from services.gateway.http.readiness import Readiness
from services.gateway.http.server import listen, serving
from services.gateway.identity.admin_key import ensure_admin_key
from services.gateway.identity.cdn_accounts import CdnAccounts
from services.gateway.identity.credentials import Credentials
from services.gateway.identity.keys import Keys
from services.gateway.identity.partners import Partners
from services.gateway.identity.repeated import RepeatedSecrets
from services.gateway.identity.resealing import Resealing
from services.gateway.native.jobs.view import JobViews
from services.gateway.web import make_web
from shared.broker import durables
from shared.broker.following import Following
from shared.errors import Unavailable
from shared.messages.jobs import JobRecord
from shared.recording.asking import Asking
from shared.recording.clear_store import ClearStore
from shared.runtime.clock import Clock
from shared.runtime.logging import get_logger
from shared.runtime.reachable import in_url, is_any, reachable_host
from shared.runtime.service import Lifespan, Service, check_all, make_service
from shared.runtime.settings import Settings
from shared.runtime.tasks import beside
from shared.security.backends import Backends
from shared.security.content_keys import ContentKeys
from shared.security.netguard.tls import trusting
from shared.store import MediaStore
from shared.store.opening import open_library, open_store

log = get_logger()
ANNOUNCE_AGAIN: Final = timedelta(seconds=2)
KEPT: Final = 64 << 20
"""Bytes of decrypted segments that a gateway keeps in memory: all viewers of a live stream want the same ones."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """The gateway's parts."""

    service: Service
    public: PublicUrl
    store: MediaStore
    library: LibraryFiles
    quotas: Quotas
    receivers: Receivers
    keys: Keys
    credentials: Credentials
    cdn_accounts: CdnAccounts
    partners: Partners
    jobs: Jobs
    clips: Clips
    ordered: OrderedClips
    exports: Exports
    trials: Trials
    restreams: Restreams
    outputs: Outputs
    webhooks: Webhooks
    deliveries: Deliveries
    streams: flussonic.Streams
    entries: kaltura.Entries
    locks: Locks
    timecodes: Timecodes
    pictures: MomentPictures
    admission: flussonic.Admission


def make_gateway(service: Service) -> Gateway:
    """Build the gateway's parts."""
    settings, clock, vault, js = service.settings, service.clock, service.vault, service.js
    quotas, store = Quotas(limits_of(settings), clock), ClearStore(open_store(settings), ContentKeys(vault), KEPT)
    receivers, parts = Receivers(settings.allowed_networks, vault), Parts(vault, settings.allowed_networks)
    jobs = Jobs(js, service.outbox, vault, clock, quotas, _goes_on(settings))
    restreams = Restreams(js, service.outbox, jobs, parts, Contexts(js, vault), clock, quotas)
    credentials = Credentials(js, vault, receivers, clock)
    destinations = Destinations(vault, settings.allowed_networks, credentials.stored)
    timecodes = Timecodes(TimecodeIndex(js, store))
    bounds = Bounds(js, settings.retention, clock, timecodes)
    outward = Outward(receivers, destinations, vault)
    clips = Clips(js, service.outbox, jobs, outward, bounds, clock, quotas)
    return Gateway(
        service=service,
        public=PublicUrl(settings.base_url),
        store=store,
        library=LibraryFiles(open_library(settings, store.raw), service.outbox, clock),
        quotas=quotas,
        receivers=receivers,
        keys=Keys(js, clock),
        credentials=credentials,
        cdn_accounts=CdnAccounts(js, vault, clock, settings.cdn_window),
        partners=Partners(js, vault, clock),
        jobs=jobs,
        clips=clips,
        ordered=OrderedClips(jobs, clips, outward, bounds, js, service.outbox, clock),
        exports=Exports(js, service.outbox, clock),
        trials=Trials(js, service.outbox, destinations, clock),
        restreams=restreams,
        outputs=Outputs(restreams, jobs),
        webhooks=Webhooks(js, vault, receivers, clock, quotas),
        deliveries=Deliveries(js, service.outbox, clock),
        streams=flussonic.streams_of(js, jobs, vault, clock, receivers),
        entries=kaltura.Entries(js, jobs, vault, clock),
        locks=Locks(js),
        timecodes=timecodes,
        admission=flussonic.admission_of(backends_of(settings, clock), vault, clock, settings.on_play),
        pictures=MomentPictures(js, service.outbox, store, clock),
    )


def _goes_on(settings: Settings) -> GoesOn:
    def goes_on(job: JobRecord, at_ms: int) -> bool:
        return job.may_go_on(settings.take_up, settings.retention, at_ms)

    return goes_on


def backends_of(settings: Settings, clock: Clock) -> Backends:
    """Return what asks users' servers."""
    return Backends(settings.allowed_networks, clock, settings.on_play, tls=trusting(settings.ca_file))


def limits_of(settings: Settings) -> Limits:
    """Return the limits of each account."""
    return Limits(
        rate=settings.account_rate,
        outputs=settings.outputs,
        most={
            "live jobs": settings.account_jobs,
            "clips in work": settings.account_clips,
            "restreams": settings.account_restreams,
            "webhooks": settings.account_webhooks,
        },
    )


def web_of(gateway: Gateway) -> FastAPI:
    """Make the HTTP application with the parts that its routes need."""
    service, settings = gateway.service, gateway.service.settings
    clock, vault, public = service.clock, service.vault, gateway.public
    ingest = IngestServer(settings.public_host, settings.host, settings.rtmp_port, settings.srt_port)
    downloads = Downloads(gateway.store, vault, clock, public)
    addresses = JobAddresses(gateway.jobs, ingest, public, vault, clock)
    asking = Asking(service.outbox, clock)
    published = flussonic.Ingest(lambda: addresses.ingest_host, settings.rtmp_port, settings.srt_port)
    delivery = Delivery(service.js, gateway.store, vault, clock, lambda: public.base, asking)
    recordings = Recordings(gateway.jobs, gateway.clips, gateway.locks, clock)
    dvr = flussonic.Dvr(delivery, gateway.locks, recordings, Coverage())
    made_of = flussonic.ExportParts(gateway.clips, gateway.exports, downloads, bool(settings.export_dir))
    return make_web(
        BrokerLink(lambda: bool(service.broker.config.connection_state.connection.is_connected)),
        Readiness(lambda: check_all(service), service.notes),
        delivery,
        ClipPlayback(delivery, gateway.clips),
        downloads,
        BrightcoveViews(addresses, downloads, vault),
        OutputViews(vault),
        JobViews(gateway.jobs, addresses),
        recordings,
        Tasks(gateway.restreams, gateway.receivers),
        *flussonic.parts_of(gateway.streams, dvr, public, clock, published, settings.retention),
        flussonic.DvrExports(gateway.streams, dvr, made_of),
        flussonic.Sinks(gateway.webhooks),
        kaltura.rpc_of(service.js, gateway.entries, gateway.partners, addresses, gateway.quotas, clock),
        RepeatedSecrets(vault),
        public, gateway.library, gateway.quotas, gateway.keys, gateway.credentials, gateway.cdn_accounts,
        gateway.partners,
        gateway.jobs, gateway.clips, gateway.ordered, gateway.exports, gateway.trials,
        gateway.restreams, gateway.outputs, gateway.webhooks, gateway.deliveries,
        gateway.timecodes, gateway.pictures, gateway.admission,
    )  # fmt: skip


def serve(gateway: Gateway) -> Lifespan:
    """Register the handlers of live jobs, and return the lifespan of the HTTP server."""
    service, public = gateway.service, gateway.public
    handlers = Handlers(gateway.jobs, gateway.ordered)
    service.handle(durables.GATEWAY_STARTED, handlers.started)
    service.handle(durables.GATEWAY_ENDED, handlers.ended)
    service.handle(durables.GATEWAY_JOBS, handlers.job)
    service.handle(durables.GATEWAY_FINISH, handlers.finish)

    @contextlib.asynccontextmanager
    async def http() -> AsyncIterator[None]:
        settings = service.settings
        with listen(settings.host, settings.http_port) as bound:
            if not settings.public_url and settings.http_port == 0:
                public.base = f"http://{in_url(reachable_host(settings.host))}:{bound.getsockname()[1]}"
            if not settings.public_url and is_any(settings.host):
                log.warning("gateway.public_url.guessed", url=public.base, better="set REELAY_PUBLIC_URL")
            async with gateway.keys.running(), _following(gateway), gateway.admission.running():
                await ensure_admin_key(settings, gateway.keys)
                async with serving(web_of(gateway), bound, balancers=settings.proxy_networks):
                    log.info("gateway.listening", url=public.base)
                    yield

    return http


@contextlib.asynccontextmanager
async def _following(gateway: Gateway) -> AsyncIterator[None]:
    """Keep lists and counts current, send what a killed gateway did not, and sweep, while the block runs."""
    followed: tuple[Following[Any], ...] = (
        gateway.jobs.list, gateway.clips.list, gateway.deliveries.list, gateway.restreams.list,
        gateway.jobs.going, gateway.clips.going, gateway.restreams.going, gateway.cdn_accounts.index,
        gateway.partners.index,
        gateway.streams.aliases.index, gateway.entries.aliases.index,
    )  # fmt: skip
    async with contextlib.AsyncExitStack() as stack:
        for one in followed:
            await stack.enter_async_context(one.running())
        await stack.enter_async_context(beside(_announcing(gateway.jobs)))
        await stack.enter_async_context(beside(Resealing(gateway.service.js, gateway.service.vault).run()))
        sweep = Sweep(gateway.service.js, gateway.restreams.contexts_named, gateway.service.clock)
        await stack.enter_async_context(sweep.running())
        yield


async def _announcing(jobs: Jobs) -> None:
    while True:
        try:
            return await jobs.announce_all()
        except Unavailable as error:
            log.info("gateway.announcing.later", error=str(error))
            await asyncio.sleep(ANNOUNCE_AGAIN.total_seconds())


def openapi_document() -> dict[str, Any]:
    """Make the OpenAPI document without a connection."""
    service = make_service("gateway", Settings(secret_key=SecretStr("for the document alone")))
    return document_of(web_of(make_gateway(service)))


def build(service: Service) -> None:
    """Build the parts and serve."""
    service.beside(serve(make_gateway(service)))
