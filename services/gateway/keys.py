"""API keys: making, finding, revoking. A key is kept as the SHA-256 of its text; its text is told once."""

from __future__ import annotations

import contextlib
import hmac
import secrets
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Final

from nats.js import JetStreamContext

from shared.clock import Clock
from shared.kv import Bucket, Conflict
from shared.messages.jobs import ApiKeyRecord, Scope
from shared.mirror import Mirror
from shared.secrets import hash_token

BUCKET: Final = "keys"
PREFIX: Final = "rl_"
_LONGEST_KEY: Final = 128


def bucket_key(text: str) -> str:
    """Give the place of a key's record."""
    return f"api.{hash_token(text)}"


def new_key_text() -> str:
    """Make a key: 256 random bits behind a prefix that secret scanners can look for."""
    return PREFIX + secrets.token_urlsafe(32)


def active(record: ApiKeyRecord, now_ms: int) -> bool:
    """Tell whether a key may be used now."""
    return not record.revoked and (record.expires_ms is None or now_ms < record.expires_ms)


class Keys:
    """The API keys of all accounts; what the broker tells of them is kept in memory, current to some ms."""

    def __init__(self, jetstream: Callable[[], JetStreamContext], clock: Clock) -> None:
        self._bucket = Bucket(jetstream, BUCKET, ApiKeyRecord)
        self._mirror = Mirror(jetstream, BUCKET, ApiKeyRecord, pattern="api.>")
        self._clock = clock
        self._appointed: tuple[str, ApiKeyRecord] | None = None
        self._revoked: set[str] = set()  # by this instance, before its own mirror has heard of it

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the records current while the block runs."""
        async with self._mirror.running():
            yield

    async def find(self, text: str, unknown: Callable[[], None] = lambda: None) -> ApiKeyRecord | None:
        """Find the record of a usable key; Unavailable when it is not in memory and the broker is away.

        `unknown` is called before the broker is asked, and may forbid it by what it raises.
        """
        if not text or len(text) > _LONGEST_KEY:
            return None
        place = bucket_key(text)
        if self._appointed and hmac.compare_digest(place, self._appointed[0]):
            return self._appointed[1]
        record = self._mirror.get(place)
        if record is None:  # made a moment ago, or unknown
            unknown()
            stored = await self._bucket.get(place)
            record = stored.value if stored else None
        if record is None or record.key_id in self._revoked or not active(record, self._clock.now_ms()):
            return None
        return record

    def appoint(self, text: str, account: str) -> None:
        """Take an admin key that stands in the settings: good while this instance runs, stored nowhere."""
        ident = hash_token(f"appointed {text}")[:32]  # the same in all gateways; the look-up's hash is another
        record = ApiKeyRecord(
            account=account, key_id=ident, scopes=("admin",), label="REELAY_ADMIN_KEY", created_ms=self._clock.now_ms()
        )
        self._appointed = bucket_key(text), record

    async def create(
        self, account: str, scopes: tuple[Scope, ...], label: str = "", expires_ms: int | None = None
    ) -> tuple[str, ApiKeyRecord]:
        """Make a key; its text is given here and nowhere else."""
        text = new_key_text()
        record = ApiKeyRecord(
            account=account,
            key_id=uuid.uuid4().hex,
            scopes=scopes,
            label=label,
            created_ms=self._clock.now_ms(),
            expires_ms=expires_ms,
        )
        await self._bucket.create(bucket_key(text), record)
        return text, record

    async def ensure(self, text: str, account: str, scopes: tuple[Scope, ...], label: str) -> None:
        """Register a key whose text is kept elsewhere; one that was revoked stays so."""
        record = ApiKeyRecord(
            account=account, key_id=uuid.uuid4().hex, scopes=scopes, label=label, created_ms=self._clock.now_ms()
        )
        with contextlib.suppress(Conflict):
            await self._bucket.create(bucket_key(text), record)

    async def all_of(self, account: str) -> list[ApiKeyRecord]:
        """List an account's keys that are not revoked, oldest first."""
        found = [s.value for s in await self._bucket.items("api")]
        return sorted(
            (r for r in found if r.account == account and not r.revoked), key=lambda r: (r.created_ms, r.key_id)
        )

    async def revoke(self, account: str, key_id: str) -> bool:
        """Revoke a key, at once for this instance and within ms for the others; False when there is none."""
        for stored in await self._bucket.items("api"):
            if stored.value.account == account and stored.value.key_id == key_id and not stored.value.revoked:
                await self._bucket.change(stored.key, lambda r: r and r.model_copy(update={"revoked": True}))
                self._revoked.add(key_id)
                return True
        return False
