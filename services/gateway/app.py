"""The gateway's composition root."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

from pydantic import SecretStr

from services.gateway.deps import Deps
from services.gateway.domain.clips.clips import Clips
from services.gateway.domain.jobs.jobs import Jobs
from services.gateway.domain.lists.lists import deliveries_list
from services.gateway.domain.quotas import Quotas
from services.gateway.domain.restreams.restreams import Restreams
from services.gateway.domain.webhooks.webhooks import Webhooks
from services.gateway.facades.cdnetworks.accounts import CdnAccounts
from services.gateway.handlers import make_ended, make_finish, make_started
from services.gateway.http.openapi import document_of
from services.gateway.http.server import listen, serving
from services.gateway.identity.admin_key import ensure_admin_key
from services.gateway.identity.credentials import Credentials
from services.gateway.identity.keys import Keys
from services.gateway.web import make_web
from shared.errors import Unavailable
from shared.following import Following
from shared.kv import Bucket
from shared.logging import get_logger
from shared.messages.jobs import JobRecord
from shared.messages.notifications import DeliveryRecord
from shared.reachable import in_url, is_any, reachable_host
from shared.service import Lifespan, Service, check_all, make_service
from shared.settings import Settings
from shared.store import open_store
from shared.store.library import open_library
from shared.tasks import beside

log = get_logger()
ANNOUNCE_AGAIN_S: Final = 2.0


def make_deps(service: Service) -> Deps:
    """Join the gateway's parts."""
    settings = service.settings
    quotas, store = Quotas(settings, service.clock), open_store(settings)

    def goes_on(job: JobRecord, at_ms: int) -> bool:
        return job.may_go_on(settings.take_up, settings.retention, at_ms)

    jobs = Jobs(service.js, service.outbox, service.vault, service.clock, quotas, goes_on)
    return Deps(
        settings=service.settings,
        clock=service.clock,
        vault=service.vault,
        outbox=service.outbox,
        js=service.js,
        connected=lambda: bool(service.broker.config.connection_state.connection.is_connected),
        ready=lambda: check_all(service),
        notes=service.notes,
        store=store,
        library=open_library(settings, store),
        keys=Keys(service.js, service.clock),
        jobs=jobs,
        clips=Clips(service.js, service.outbox, jobs, service.vault, service.settings, service.clock, quotas),
        restreams=Restreams(service.js, service.outbox, jobs, service.vault, service.settings, service.clock, quotas),
        cdn_accounts=CdnAccounts(service.js, service.vault, service.clock, service.settings.cdn_window),
        credentials=Credentials(service.js, service.vault, service.clock),
        webhooks=Webhooks(service.js, service.vault, service.clock, quotas),
        deliveries=Bucket(service.js, "deliveries", DeliveryRecord),
        quotas=quotas,
        delivery_list=deliveries_list(service.js),
        base_url=service.settings.base_url,
    )


def serve(service: Service, deps: Deps) -> Lifespan:
    """Let the service handle what happens to jobs, and give the HTTP server to run beside it."""
    service.handle("gateway-started", make_started(deps.jobs))
    service.handle("gateway-ended", make_ended(deps.jobs))
    service.handle("gateway-finish", make_finish(deps.jobs))

    @contextlib.asynccontextmanager
    async def http() -> AsyncIterator[None]:
        settings = service.settings
        with listen(settings.host, settings.http_port) as bound:
            if not settings.public_url and settings.http_port == 0:
                deps.base_url = f"http://{in_url(reachable_host(settings.host))}:{bound.getsockname()[1]}"
            if not settings.public_url and is_any(settings.host):
                log.warning("gateway.public_url.guessed", url=deps.base_url, better="set REELAY_PUBLIC_URL")
            async with deps.keys.running(), _following(deps):
                await ensure_admin_key(settings, deps.keys)
                async with serving(make_web(deps), bound, balancers=settings.proxy_networks):
                    log.info("gateway.listening", url=deps.base_url)
                    yield

    return http


@contextlib.asynccontextmanager
async def _following(deps: Deps) -> AsyncIterator[None]:
    """Keep lists and counts current, and send what a killed gateway did not, while the block runs."""
    followed: tuple[Following[Any], ...] = (
        deps.jobs.list, deps.clips.list, deps.delivery_list, deps.restreams.list,
        deps.jobs.going, deps.clips.going, deps.restreams.going, deps.cdn_accounts.index,
    )  # fmt: skip
    async with contextlib.AsyncExitStack() as stack:
        for one in followed:
            await stack.enter_async_context(one.running())
        await stack.enter_async_context(beside(_announcing(deps)))
        yield


async def _announcing(deps: Deps) -> None:
    while True:
        try:
            return await deps.jobs.announce_all()
        except Unavailable as error:
            log.info("gateway.announcing.later", error=str(error))
            await asyncio.sleep(ANNOUNCE_AGAIN_S)


def openapi_document() -> dict[str, Any]:
    """Make the OpenAPI document without a connection."""
    service = make_service("gateway", Settings(secret_key=SecretStr("for the document alone")))
    return document_of(make_web(make_deps(service)))


def build(service: Service) -> None:
    """Join the parts and serve."""
    service.beside(serve(service, make_deps(service)))
