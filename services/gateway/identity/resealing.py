"""After a change of the secret key: what older keys have sealed in the gateway's own buckets is sealed anew.

Each record is changed by compare-and-set, and one that is sealed with the present key stays as it is: several gateways
may do this at once, and one that was killed goes on at its next start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from nats.js import JetStreamContext

from services.gateway.domain.jobs.jobs import KEY_PURPOSE as STREAM_KEY_PURPOSE
from services.gateway.domain.jobs.jobs import PASSPHRASE_PURPOSE
from services.gateway.identity.aliases import SETTINGS_PURPOSE, Alias, AliasIndex
from services.gateway.identity.cdn_accounts import KEY_PURPOSE as CDN_KEY_PURPOSE
from services.gateway.identity.cdn_accounts import CdnAccount, NameIndex
from services.gateway.identity.partners import PARTNER_PURPOSE, PartnerIndex, PartnerRecord
from shared.broker import buckets
from shared.broker.kv import Bucket
from shared.errors import Unavailable
from shared.messages.base import Record
from shared.messages.credentials import CREDENTIAL_PURPOSE, CredentialRecord
from shared.messages.jobs import JobRecord
from shared.messages.keys import BROADCAST_PURPOSE, IngestKey
from shared.messages.notifications import WebhookEndpoint
from shared.messages.subscriptions import SubscriptionContext
from shared.runtime.logging import get_logger
from shared.security.secrets import SecretUnreadable, Vault
from shared.security.webhooks import SEALED, VAULT_PURPOSE, open_url, seal_url

log = get_logger()
LATER: Final = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Kept:
    """A bucket's records with secrets: the purpose of each field, and the fields that hold sealed URLs at any depth."""

    bucket: str
    model: type[Record]
    purposes: dict[str, str]
    urls: tuple[str, ...] = ()
    pattern: str = ">"


KEPT: Final[tuple[Kept, ...]] = (
    Kept(
        buckets.CREDENTIALS, CredentialRecord,
        {"secret": CREDENTIAL_PURPOSE, "session_token": CREDENTIAL_PURPOSE}, ("url",),
    ),
    Kept(buckets.WEBHOOKS, WebhookEndpoint, {"secret": VAULT_PURPOSE}, ("url",)),
    Kept(
        buckets.JOBS, JobRecord,
        {"stream_key": STREAM_KEY_PURPOSE, "passphrase": PASSPHRASE_PURPOSE}, ("on_publish", "notifications"),
    ),
    Kept(buckets.KEYS, CdnAccount, {"key": CDN_KEY_PURPOSE}, pattern=NameIndex.pattern),
    Kept(buckets.KEYS, PartnerRecord, {"secret": PARTNER_PURPOSE}, pattern=PartnerIndex.pattern),
    Kept(buckets.KEYS, IngestKey, {"token": BROADCAST_PURPOSE}, pattern="ingest.*"),
    Kept(buckets.ALIASES, Alias, {"settings": SETTINGS_PURPOSE}, pattern=AliasIndex.pattern),
    Kept(buckets.CONTEXTS, SubscriptionContext, {}, ("document",)),
)  # fmt: skip


class Resealing:
    """Seals anew; `anew` counts the records that were changed, `unreadable` those that no key opens."""

    def __init__(self, jetstream: Callable[[], JetStreamContext], vault: Vault) -> None:
        self._jetstream = jetstream
        self._vault = vault
        self.anew = 0
        self.unreadable = 0

    async def run(self) -> None:
        """Seal anew what older keys have sealed, if older keys are named; wait while the broker is away."""
        while self._vault.changes_key:
            try:
                await self.once()
            except Unavailable as error:
                log.info("secrets.resealing.later", error=str(error))
                await asyncio.sleep(LATER.total_seconds())
                continue
            log.info("secrets.resealed", records=self.anew, unreadable=self.unreadable)
            return

    async def once(self) -> None:
        """Go through all buckets once. Raise Unavailable."""
        self.anew = self.unreadable = 0
        for kept in KEPT:
            bucket = Bucket(self._jetstream, kept.bucket, kept.model)
            stale: list[str] = []
            async for changes in bucket.changes(kept.pattern):
                stale += [c.key for c in changes if c.value is not None and self._changed(kept, c.value, c.key)]
            for key in stale:
                await bucket.change(key, self._changing(kept, key))
                self.anew += 1

    def _changing(self, kept: Kept, key: str) -> Callable[[Record | None], Record | None]:
        return lambda record: self._changed(kept, record, key) if record is not None else None

    def _changed(self, kept: Kept, record: Record, key: str) -> Record | None:
        """Return the record with what was stale sealed anew; None when nothing was, or no key opens it."""
        try:
            found: dict[str, Any] = {
                field: self._sealed(getattr(record, field), purpose) for field, purpose in kept.purposes.items()
            } | {field: self._anywhere(getattr(record, field)) for field in kept.urls}
        except SecretUnreadable:
            self.unreadable += 1
            log.warning("secrets.unreadable", bucket=kept.bucket, key=key)
            return None
        changes = {field: value for field, value in found.items() if value != getattr(record, field)}
        return record.model_copy(update=changes) if changes else None

    def _sealed(self, token: str, purpose: str) -> str:
        if not token or self._vault.is_current(token):
            return token
        return self._vault.encrypt(self._vault.decrypt(token, purpose), purpose)

    def _anywhere(self, value: Any) -> Any:
        """Return a value with the sealed URLs in it sealed anew."""
        if isinstance(value, dict):
            return {name: self._anywhere(inner) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self._anywhere(inner) for inner in value)
        if isinstance(value, Record):
            fields = {name: (inner, self._anywhere(inner)) for name, inner in value}
            return value.model_copy(update={name: new for name, (old, new) in fields.items() if new != old})
        if not isinstance(value, str) or not value.startswith(SEALED):
            return value
        if self._vault.is_current(value.removeprefix(SEALED)):
            return value
        return seal_url(self._vault, open_url(self._vault, value))
