"""What routes and handlers of the gateway are given."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nats.js import JetStreamContext

from shared.bus import Outbox
from shared.clock import Clock
from shared.kv import Bucket
from shared.messages.notifications import DeliveryRecord
from shared.secrets import Vault
from shared.settings import Settings
from shared.store import MediaStore
from shared.store.library import Library

if TYPE_CHECKING:
    from services.gateway.domain.clips.clips import Clips
    from services.gateway.domain.jobs.jobs import Jobs
    from services.gateway.domain.lists.catalogue import Catalogue
    from services.gateway.domain.lists.lists import DeliveryFacts
    from services.gateway.domain.quotas import Quotas
    from services.gateway.domain.restreams.restreams import Restreams
    from services.gateway.domain.webhooks.webhooks import Webhooks
    from services.gateway.facades.cdnetworks.accounts import CdnAccounts
    from services.gateway.identity.credentials import Credentials
    from services.gateway.identity.keys import Keys


@dataclass(slots=True)
class Deps:
    """The gateway's parts, as app.py joins them; routes reach them as `request.app.state.deps`.

    `base_url` is the gateway's public URL without a slash at its end, known once the port is bound.
    """

    settings: Settings
    clock: Clock
    vault: Vault
    outbox: Outbox
    js: Callable[[], JetStreamContext]
    connected: Callable[[], bool]
    ready: Callable[[], Awaitable[dict[str, str]]]
    notes: Callable[[], dict[str, str]]
    store: MediaStore
    library: Library
    keys: Keys
    jobs: Jobs
    clips: Clips
    restreams: Restreams
    cdn_accounts: CdnAccounts
    credentials: Credentials
    webhooks: Webhooks
    deliveries: Bucket[DeliveryRecord]
    quotas: Quotas
    delivery_list: Catalogue[DeliveryRecord, DeliveryFacts]
    base_url: str
