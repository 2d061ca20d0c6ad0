"""Where deliveries go: the account's endpoints, which the gateway keeps, and their secrets."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace

from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.errors import APIError

from services.notifier.events import Happening
from services.notifier.named import named_in, naming
from services.notifier.sender import Recipient
from shared.broker import buckets
from shared.broker.kv import Bucket
from shared.errors import DestinationFailed, Unavailable
from shared.messages.notifications import DeliveryRecord, WebhookEndpoint
from shared.messages.subscriptions import SubscribedEvent
from shared.runtime.logging import get_logger
from shared.security.secrets import SecretUnreadable, Vault
from shared.security.webhooks import VAULT_PURPOSE, account_secret, open_url, seal_url

log = get_logger()
BUCKET = buckets.WEBHOOKS


class Addresses:
    """Reads endpoints. A list is cached until the bucket changes, so a new endpoint is never missed."""

    def __init__(self, jetstream: Callable[[], JetStreamContext], vault: Vault) -> None:
        self._jetstream = jetstream
        self._vault = vault
        self._bucket = Bucket(jetstream, BUCKET, WebhookEndpoint)
        self._lists: dict[str, list[WebhookEndpoint]] = {}
        self._revision: Hashable = None

    async def endpoints(self, account: str) -> list[WebhookEndpoint]:
        """Return an account's endpoints. Unavailable."""
        revision = await self._revision_now()
        if revision != self._revision:
            self._lists, self._revision = {}, revision
        if account not in self._lists:
            stored = [stored.value for stored in await self._bucket.items(account)]
            self._lists[account] = [e.model_copy(update={"url": url}) for e in stored if (url := self.opened(e.url))]
        return self._lists[account]

    def told_by(self, happening: Happening) -> Happening:
        """Decrypt the URLs of the receivers that the event itself names; leave out an unreadable one."""
        event = happening.event
        if isinstance(event, SubscribedEvent) and event.subscription:
            url = self.opened(event.subscription.url)
            subscription = event.subscription.model_copy(update={"url": url}) if url else None
            event = event.model_copy(update={"subscription": subscription})
            happening = replace(happening, event=event)
        if not (named := named_in(event)):
            return happening
        wishes = tuple(n.model_copy(update={"url": url}) for n in named if (url := self.opened(n.url)))
        return replace(happening, event=naming(event, wishes))

    def sealed(self, url: str) -> str:
        """Return a URL encrypted, as it is stored."""
        return seal_url(self._vault, url)

    def opened(self, sealed: str) -> str:
        """Decrypt the result of `sealed`; return an empty string when it was made with another SECRET_KEY."""
        try:
            return open_url(self._vault, sealed)
        except SecretUnreadable:
            log.warning("webhook.url.unreadable")
            return ""

    async def _revision_now(self) -> Hashable:
        """Return a value that differs after any change of the bucket, also after it is recreated or restored."""
        try:
            status = await (await self._jetstream().key_value(BUCKET)).status()
        except (NatsError, APIError, TimeoutError, OSError) as error:
            raise Unavailable(f"bucket {BUCKET}: {type(error).__name__}") from error
        info = status.stream_info
        return info.created, info.state.first_seq, info.state.last_seq, info.state.messages

    async def target(self, record: DeliveryRecord) -> Recipient:
        """Return where a delivery goes now. Raise DestinationFailed when its endpoint was deleted or is disabled.

        Requests to a one-off receiver are signed with the secret of its account.
        """
        if record.endpoint is None:
            url = self.opened(record.target)
            if not url:
                raise DestinationFailed("the receiver's URL can't be read", final=True)
            secret = account_secret(self._vault, record.account)
            return Recipient(url, secret, record.account, record.credentials)
        stored = await self._bucket.get(f"{record.account}.{record.endpoint}")
        if stored is None:
            raise DestinationFailed("the endpoint was deleted", final=True)
        if not stored.value.enabled:
            raise DestinationFailed("the endpoint is disabled", final=True)
        try:
            secret = self._vault.decrypt(stored.value.secret, VAULT_PURPOSE)
            return Recipient(open_url(self._vault, stored.value.url), secret)
        except SecretUnreadable as error:
            raise DestinationFailed("the endpoint's secret can't be read", final=True) from error
