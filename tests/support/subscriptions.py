"""Subscriptions as a facade makes them, with what their messages repeat stored as the gateway stores it."""

from __future__ import annotations

import uuid
from typing import Any

from nats.js import JetStreamContext

from shared.broker.kv import Bucket
from shared.messages.subscriptions import Subscription, SubscriptionContext
from shared.security.secrets import Vault
from shared.security.webhooks import seal_url


def contexts(js: JetStreamContext) -> Bucket[SubscriptionContext]:
    """Open the bucket."""
    return Bucket(lambda: js, "contexts", SubscriptionContext)


async def stored(js: JetStreamContext, account: str, document: dict[str, Any]) -> str:
    """Store a context of a resource; gives its name."""
    name = f"{uuid.uuid4().hex}.{uuid.uuid4().hex[:16]}"
    context = SubscriptionContext(account=account, context=name, document=document)
    await contexts(js).create(context.key, context)
    return name


def task(vault: Vault, ident: str = "1", cmd: str = "1", src: str = "[]", **more: Any) -> dict[str, Any]:
    """Give what the CDNetworks facade says of a call."""
    return {"id": ident, "cmd": cmd, "srcurl": seal_url(vault, src), **more}


async def cdn_subscription(
    js: JetStreamContext, account: str, vault: Vault, url: str, document: dict[str, Any]
) -> Subscription:
    """Subscribe a receiver as a customer of the CDNetworks API does."""
    name = await stored(js, account, document)
    return Subscription(form="cdnetworks", url=seal_url(vault, url), context=name)
