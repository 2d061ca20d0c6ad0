"""Media servers that report themselves; a host that never did serves no entry."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

from nats.js import JetStreamContext

from services.gateway.domain.errors import TooMany
from services.gateway.domain.quotas import NUMBER_AGAIN
from services.gateway.facades.kaltura.errors import KalturaError
from services.gateway.facades.kaltura.records import ServerNode
from services.gateway.facades.kaltura.values import Fields
from shared.broker import buckets
from shared.broker.kv import Bucket
from shared.runtime.clock import Clock

MOST: Final = 100
LONGEST_HOST: Final = 256
TEXTS: Final = (
    "name", "systemName", "description", "tags", "environment", "applicationName", "appPrefix", "transcoder",
    "liveServicePort", "liveServiceProtocol", "liveServiceInternalDomain",
)  # fmt: skip
CONFIGS: Final = ("mediaServerPortConfig", "mediaServerPlaybackDomainConfig")
KINDS: Final = ("KalturaWowzaMediaServerNode", "KalturaMediaServerNode", "KalturaDeliveryServerNode")


class Nodes:
    """Reads and writes the hosts of partners."""

    def __init__(self, jetstream: Callable[[], JetStreamContext], clock: Clock) -> None:
        self._bucket = Bucket(jetstream, buckets.MEDIA_SERVERS, ServerNode)
        self._clock = clock

    async def report(self, partner: int, host: str, described: Fields | None, status: int) -> ServerNode:
        """Record that a host lives; an unknown one is added when it is described. SERVER_NODE_NOT_FOUND, TooMany."""
        now, key = self._clock.now_ms(), _key(partner, host)
        stored = await self._bucket.get(key)
        if stored is None and described is None:
            raise KalturaError("SERVER_NODE_NOT_FOUND", ID=host)
        if stored is None and len(await self._bucket.keys(f"host.{partner}")) >= MOST:
            raise TooMany("QUOTA_EXCEEDED", f"a partner has at most {MOST} media servers", NUMBER_AGAIN)
        added = ServerNode(partner=partner, host=host, created_ms=now, changed_ms=now, heartbeat_ms=now)
        found = await self._bucket.change(key, lambda node: _reported(node or added, described, status, now))
        assert found is not None  # noqa: S101  `_reported` returns one
        return found

    async def find(self, partner: int, host: str) -> ServerNode | None:
        """Return a host that this partner has reported."""
        stored = await self._bucket.get(_key(partner, host))
        return stored.value if stored is not None else None

    async def all_of(self, partner: int) -> list[ServerNode]:
        """Return a partner's hosts, oldest first."""
        found = [stored.value for stored in await self._bucket.items(f"host.{partner}")]
        return sorted(found, key=lambda node: (node.created_ms, node.host))


def _reported(node: ServerNode, described: Fields | None, status: int, now: int) -> ServerNode:
    changes: dict[str, object] = {"heartbeat_ms": now, "status": status}
    if described is not None:
        kind = described.text("objectType")
        texts = {name: described.text(name, longest=256) for name in TEXTS if described.text(name)}
        configs = {
            name: tuple((one.text("key", longest=256), one.text("value", longest=256)) for one in sent)
            for name in CONFIGS
            if (sent := described.items(name, 32))
        }
        changes |= {"texts": node.texts | texts, "configs": node.configs | configs, "changed_ms": now}
        changes |= {"kind": kind} if kind in KINDS else {}
    return node.model_copy(update=changes)


def _key(partner: int, host: str) -> str:
    return f"host.{partner}.{hashlib.sha256(host.lower().encode()).hexdigest()}"
