"""Contexts: the data that all messages to a subscriber repeat. The gateway stores them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from nats.js import JetStreamContext

from shared.broker import buckets
from shared.broker.kv import Bucket
from shared.messages.subscriptions import Subscription, SubscriptionContext, context_key

BUCKET: Final = buckets.CONTEXTS


class Contexts:
    """Reads contexts. A stored context never changes."""

    def __init__(self, jetstream: Callable[[], JetStreamContext]) -> None:
        self._bucket = Bucket(jetstream, BUCKET, SubscriptionContext)

    async def of(self, account: str, subscription: Subscription) -> dict[str, Any] | None:
        """Return what a subscription's messages repeat; None when part of it is not stored. Raise Unavailable."""
        found: dict[str, Any] = {}
        for name in (subscription.base, subscription.context):
            if name is None:
                continue
            key = context_key(account, name)
            stored = await self._bucket.get(key) or await self._bucket.get_settled(key)
            if stored is None:
                return None
            found |= stored.value.document
        return found
