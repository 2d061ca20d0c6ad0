"""Receivers of webhooks: the bucket `webhooks`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from nats.js import JetStreamContext

from services.gateway.domain.errors import StateConflict, no_such
from services.gateway.domain.quotas import Quotas
from services.gateway.domain.receivers import Receivers
from shared.broker import buckets
from shared.broker.kv import Bucket
from shared.messages.notifications import WebhookEndpoint
from shared.runtime.clock import Clock
from shared.security.secrets import SecretUnreadable, Vault
from shared.security.webhooks import VAULT_PURPOSE, account_secret, new_secret, open_url


class Telling(NamedTuple):
    """How a receiver is told: the notifier's form, and what that form reads besides events."""

    form: str
    options: Mapping[str, Any]


STANDARD: Final = Telling("standard", MappingProxyType({}))


class Webhooks:
    """An account's receivers; URLs and secrets are stored encrypted, and secrets shown only when they are made."""

    def __init__(
        self,
        jetstream: Callable[[], JetStreamContext],
        vault: Vault,
        receivers: Receivers,
        clock: Clock,
        quotas: Quotas,
    ) -> None:
        self._bucket = Bucket(jetstream, buckets.WEBHOOKS, WebhookEndpoint)
        self._receivers = receivers
        self._quotas = quotas
        self._vault = vault
        self._clock = clock

    async def create(
        self,
        account: str,
        url: str,
        events: tuple[str, ...],
        description: str,
        *,
        enabled: bool,
        ident: str,
        how: Telling = STANDARD,
    ) -> tuple[str, WebhookEndpoint]:
        """Make a receiver and return it with its secret; Invalid, or TooMany when the account has as many as it may.

        A request that comes again with the same `ident` is answered as the first.
        """
        if stored := await self._bucket.get(f"{account}.{ident}"):
            return self._secret_of(stored.value), stored.value
        secret = new_secret()
        endpoint = WebhookEndpoint(
            account=account,
            endpoint=ident,
            url=self._sealed(url),
            events=events,
            secret=self._vault.encrypt(secret, VAULT_PURPOSE),
            enabled=enabled,
            description=description,
            form=how.form,
            options=dict(how.options),
            created_ms=self._clock.now_ms(),
        )

        async def there() -> list[str]:
            return [stored.value.endpoint for stored in await self._bucket.items(account)]

        async with self._quotas.room(account, "webhooks", there, [endpoint.endpoint]):
            made = await self._bucket.change(f"{account}.{ident}", lambda there: endpoint if there is None else None)
        assert made is not None  # noqa: S101  the function above returns one when there is none
        return self._secret_of(made), made

    def _secret_of(self, endpoint: WebhookEndpoint) -> str:
        try:
            return self._vault.decrypt(endpoint.secret, VAULT_PURPOSE)
        except SecretUnreadable as error:
            raise StateConflict("the receiver is there, but its secret was stored under another key") from error

    async def get(self, account: str, endpoint: str) -> WebhookEndpoint:
        """Return a receiver; NotFound."""
        stored = await self._bucket.get(f"{account}.{endpoint}")
        if stored is None:
            raise no_such("webhook")
        return stored.value

    async def all_of(self, account: str) -> list[WebhookEndpoint]:
        """Return an account's receivers, oldest first."""
        found = [s.value for s in await self._bucket.items(account)]
        return sorted(found, key=lambda e: (e.created_ms, e.endpoint))

    async def update(self, account: str, endpoint: str, changes: dict[str, Any]) -> WebhookEndpoint:
        """Change fields of a receiver and return it; NotFound or Invalid."""
        if "url" in changes:
            changes = {**changes, "url": self._sealed(changes["url"])}

        def change(there: WebhookEndpoint | None) -> WebhookEndpoint:
            if there is None:
                raise no_such("webhook")
            return there.model_copy(update=changes)

        changed = await self._bucket.change(f"{account}.{endpoint}", change)
        assert changed is not None  # noqa: S101  `change` raises otherwise
        return changed

    def normal(self, field: str, url: str) -> str:
        """Return a receiver's URL as it is stored; Invalid names the field."""
        return self._receivers.checked(field, url)

    def _sealed(self, url: str) -> str:
        return self._receivers.sealed(self._receivers.checked("url", url))

    def url_of(self, endpoint: WebhookEndpoint) -> str:
        """Return a receiver's URL; empty when it was stored under another SECRET_KEY."""
        try:
            return open_url(self._vault, endpoint.url)
        except SecretUnreadable:
            return ""

    async def new_secret(self, account: str, endpoint: str) -> tuple[str, WebhookEndpoint]:
        """Replace a receiver's secret, and return both; NotFound."""
        secret = new_secret()
        encrypted = self._vault.encrypt(secret, VAULT_PURPOSE)
        return secret, await self.update(account, endpoint, {"secret": encrypted})

    def notification_secret(self, account: str) -> str:
        """Return the secret that signs an account's notifications to receivers named in requests."""
        return account_secret(self._vault, account)

    async def delete(self, account: str, endpoint: str) -> None:
        """Remove a receiver; NotFound."""
        await self.get(account, endpoint)
        await self._bucket.delete(f"{account}.{endpoint}")
