"""Contexts of subscriptions: stored before the command that names them is published; `sweep.py` deletes them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from nats.js import JetStreamContext

from services.gateway.domain.errors import TooLarge
from shared.broker import buckets
from shared.broker.kv import Bucket
from shared.messages.subscriptions import MOST_DOCUMENT, SubscriptionContext
from shared.security.secrets import Vault
from shared.security.webhooks import seal_url

PURPOSE: Final = "subscription-context"


class Contexts:
    """Makes contexts and stores them.

    A context is named by its content, so that the same call again stores nothing new, and by its resource, with which
    it is deleted.
    """

    def __init__(self, jetstream: Callable[[], JetStreamContext], vault: Vault) -> None:
        self._bucket = Bucket(jetstream, buckets.CONTEXTS, SubscriptionContext)
        self._vault = vault

    def made(self, account: str, resource: str, document: Mapping[str, Any], known_by: str) -> SubscriptionContext:
        """Return a context. Raise TooLarge.

        `known_by` is its content in plain text: sealing the same text twice gives different results.
        """
        if len(json.dumps(document)) > MOST_DOCUMENT:
            raise TooLarge("what every callback would repeat is too long")
        name = f"{resource}.{self._vault.fingerprint(known_by, PURPOSE)}"
        return SubscriptionContext(account=account, context=name, document=dict(document))

    def sealed(self, secret: str) -> str:
        """Return a secret sealed, as it is stored; the form opens it."""
        return seal_url(self._vault, secret)

    async def keep(self, *contexts: SubscriptionContext) -> None:
        """Store contexts; they stay for as long as anything names them. Raise Unavailable."""
        await asyncio.gather(*(self._keep(context) for context in contexts))

    async def _keep(self, context: SubscriptionContext) -> None:
        def how(old: SubscriptionContext | None) -> SubscriptionContext | None:
            return context if old is None or old.unnamed_ms is not None else None

        await self._bucket.change(context.key, how)
