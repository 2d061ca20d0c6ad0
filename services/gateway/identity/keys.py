"""API keys: makes, finds and revokes them. A key is stored as the SHA-256 of its text, which is shown once."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import hmac
import math
import secrets
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import timedelta
from typing import Final

from nats.js import JetStreamContext

from services.gateway.domain.errors import StateConflict, invalid
from shared.broker import buckets
from shared.broker.following import Following
from shared.broker.kv import Bucket, Change, Conflict
from shared.broker.mirror import Mirror
from shared.errors import Unavailable
from shared.messages.keys import ApiKeyRecord, Dialect, Scope
from shared.runtime.clock import Clock
from shared.runtime.logging import get_logger
from shared.runtime.tasks import beside
from shared.security.secrets import hash_token

log = get_logger()
Position = tuple[int, str]

BUCKET: Final = buckets.KEYS
PREFIX: Final = "rl_"
_LONGEST_KEY: Final = 128
KEPT: Final = timedelta(days=30)
"""How long the records of revoked or expired keys stay, so that they can be identified."""
EXPIRE_EVERY: Final = timedelta(hours=1)


def bucket_key(text: str) -> str:
    """Return the bucket key of an API key's record."""
    return f"api.{hash_token(text)}"


def new_key_text() -> str:
    """Return a new key: 256 random bits after a prefix that secret scanners can look for."""
    return PREFIX + secrets.token_urlsafe(32)


def active(record: ApiKeyRecord, now_ms: int) -> bool:
    """Return whether a key may be used now."""
    return not record.revoked and (record.expires_ms is None or now_ms < record.expires_ms)


def position(record: ApiKeyRecord) -> Position:
    """Return a key's position in lists."""
    return record.created_ms, record.key_id


class KeyIndex(Following[ApiKeyRecord]):
    """All records of API keys, by account and id, with their keys in the bucket."""

    pattern = "api.*"

    def __init__(self, jetstream: Callable[[], JetStreamContext]) -> None:
        super().__init__(jetstream, BUCKET, ApiKeyRecord)
        self._accounts: defaultdict[str, dict[str, tuple[str, ApiKeyRecord]]] = defaultdict(dict)
        self._by_stored_key: dict[str, ApiKeyRecord] = {}

    def of(self, account: str) -> Mapping[str, tuple[str, ApiKeyRecord]]:
        """Return an account's records with their keys in the bucket, by id."""
        return self._accounts.get(account, {})

    def every(self) -> list[tuple[str, ApiKeyRecord]]:
        """Return all records with their keys in the bucket."""
        return list(self._by_stored_key.items())

    def _forget(self) -> None:
        self._accounts.clear()
        self._by_stored_key.clear()

    def _take(self, change: Change[ApiKeyRecord]) -> None:
        before = self._by_stored_key.pop(change.key, None)
        if before is not None:
            self._accounts[before.account].pop(before.key_id, None)
            if not self._accounts[before.account]:
                del self._accounts[before.account]
        if change.value is not None:
            self._by_stored_key[change.key] = change.value
            self._accounts[change.value.account][change.value.key_id] = change.key, change.value


class Keys:
    """The API keys of all accounts; their records are mirrored in memory, current to a few ms."""

    def __init__(self, jetstream: Callable[[], JetStreamContext], clock: Clock) -> None:
        self._bucket = Bucket(jetstream, BUCKET, ApiKeyRecord)
        self._index = KeyIndex(jetstream)
        self._mirror = Mirror(jetstream, BUCKET, ApiKeyRecord, pattern="api.>")
        self._clock = clock
        self._appointed: tuple[str, ApiKeyRecord] | None = None
        self._revoked: set[str] = set()  # by this instance, until its own mirror shows it

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the records current, and remove old ones, while the block runs."""
        async with self._mirror.running(), beside(self._expiring()):
            yield

    async def find(self, text: str, unknown: Callable[[], None] = lambda: None) -> ApiKeyRecord | None:
        """Return the record of a usable key; Unavailable when it is not in memory and the broker is away.

        `unknown` is called before the broker is asked; it may raise to prevent that.
        """
        if not text or len(text) > _LONGEST_KEY:
            return None
        stored_key = bucket_key(text)
        if self._appointed and hmac.compare_digest(stored_key, self._appointed[0]):
            return self._appointed[1]
        record = self._mirror.get(stored_key)
        if record is None:  # made a moment ago, or unknown
            unknown()
            stored = await self._bucket.get(stored_key)
            record = stored.value if stored else None
        if record is None or record.key_id in self._revoked or not active(record, self._clock.now_ms()):
            return None
        return record

    def appoint(self, text: str, account: str) -> None:
        """Accept the admin key of the settings: valid while this instance runs, stored nowhere."""
        ident = hash_token(f"appointed {text}")[:32]  # the same in all gateways, but not the hash of the lookup
        record = ApiKeyRecord(
            account=account, key_id=ident, scopes=("admin",), label="REELAY_ADMIN_KEY", created_ms=self._clock.now_ms()
        )
        self._appointed = bucket_key(text), record

    async def create(
        self,
        account: str,
        scopes: tuple[Scope, ...],
        label: str = "",
        expires_ms: int | None = None,
        text: str | None = None,
        *,
        dialect: Dialect = "native",
    ) -> tuple[str, ApiKeyRecord]:
        """Make a key and return its text, only here, and its record; Invalid when its expiry is past.

        With a given `text`, a repeated request (the first answer may have been lost) is answered as the first.
        """
        if expires_ms is not None and expires_ms <= self._clock.now_ms():
            raise invalid("expires_at", "lies in the past")
        text = text or new_key_text()
        record = ApiKeyRecord(
            account=account,
            key_id=uuid.uuid4().hex,
            scopes=scopes,
            label=label,
            created_ms=self._clock.now_ms(),
            expires_ms=expires_ms,
            dialect=dialect,
        )
        made = await self._bucket.change(bucket_key(text), lambda there: record if there is None else None)
        assert made is not None  # noqa: S101  the function above returns one when there is none
        if made.revoked:
            raise StateConflict("the key that this request made was revoked")
        return text, made

    async def ensure(self, text: str, account: str, scopes: tuple[Scope, ...], label: str) -> None:
        """Register a key whose text is kept elsewhere; a revoked one stays revoked."""
        record = ApiKeyRecord(
            account=account, key_id=uuid.uuid4().hex, scopes=scopes, label=label, created_ms=self._clock.now_ms(),
            kept=True,
        )  # fmt: skip
        with contextlib.suppress(Conflict):
            await self._bucket.create(bucket_key(text), record)

    async def page(self, account: str, after: Position | None, count: int) -> list[ApiKeyRecord]:
        """Return up to `count` of an account's keys that are not revoked, oldest first, after a position."""
        await self._index.refresh()
        found = (record for _, record in self._index.of(account).values() if not record.revoked)
        behind = (record for record in found if after is None or position(record) > after)
        return heapq.nsmallest(count, behind, key=position)

    async def revoke(self, account: str, key_id: str) -> bool:
        """Revoke a key, at once for this instance and within ms for the others; return False when there is none."""
        await self._index.refresh()
        stored_key, record = self._index.of(account).get(key_id, ("", None))
        if record is None or record.revoked:
            return False
        revoked = {"revoked": True, "revoked_ms": self._clock.now_ms()}
        await self._bucket.change(stored_key, lambda r: r and r.model_copy(update=revoked))
        self._revoked.add(key_id)
        return True

    async def expire(self) -> int:
        """Remove the records of keys that were revoked or expired KEPT ago or earlier, and return their number.

        Those whose text is kept elsewhere stay: their text would register them anew, and they would be valid again.
        """
        await self._index.refresh()
        before_ms = self._clock.now_ms() - KEPT // timedelta(milliseconds=1)
        ended = [(stored_key, record) for stored_key, record in self._index.every() if _ended_ms(record) <= before_ms]
        for stored_key, record in ended:
            await self._bucket.delete(stored_key)
            self._revoked.discard(record.key_id)
            log.info("key.removed", key=record.key_id, account=record.account)
        return len(ended)

    async def _expiring(self) -> None:
        while True:
            try:
                await self.expire()
            except Unavailable as error:
                log.info("key.retention.later", error=str(error))
            await asyncio.sleep(EXPIRE_EVERY.total_seconds())


def _ended_ms(record: ApiKeyRecord) -> float:
    """Return when a key ended, ms since the epoch; infinity for those that stay."""
    if record.kept or (record.revoked and record.revoked_ms is None and "admin" in record.scopes):
        return math.inf  # made by an older version: whether its text is kept is unknown
    if record.revoked:
        return record.revoked_ms or record.created_ms
    return math.inf if record.expires_ms is None else record.expires_ms
