"""Stored credentials of users' own buckets: the bucket `credentials`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from nats.js import JetStreamContext

from services.gateway.domain.errors import StateConflict, no_such
from services.gateway.domain.receivers import Receivers
from shared.broker import buckets
from shared.broker.kv import Bucket
from shared.messages.credentials import CREDENTIAL_PURPOSE, CredentialRecord, credential_id, credential_key
from shared.runtime.clock import Clock
from shared.security.secrets import Vault

MOST: Final = 100


class Credentials:
    """An account's credentials by name; secrets are stored encrypted and never returned."""

    def __init__(
        self, jetstream: Callable[[], JetStreamContext], vault: Vault, receivers: Receivers, clock: Clock
    ) -> None:
        self._bucket = Bucket(jetstream, buckets.CREDENTIALS, CredentialRecord)
        self._vault = vault
        self._receivers = receivers
        self._clock = clock

    async def put(  # one parameter per field
        self, account: str, name: str, *, endpoint: str, region: str, access_key: str, secret: str
    ) -> CredentialRecord:
        """Make or replace credentials; Invalid, or StateConflict when the account has 100 others."""
        endpoint = self._receivers.checked("endpoint", endpoint) if endpoint else ""
        now = self._clock.now_ms()
        stored = await self.all_of(account)
        if len(stored) >= MOST and all(one.name != name for one in stored):
            raise StateConflict(f"an account has at most {MOST} credentials")
        masked = f"******{secret[-2:]}"
        encrypted = self._vault.encrypt(secret, CREDENTIAL_PURPOSE)

        def change(old: CredentialRecord | None) -> CredentialRecord:
            return CredentialRecord(
                account=account, credential=credential_id(name), name=name, endpoint=endpoint, region=region,
                public=access_key, secret=encrypted, masked=masked, created_ms=old.created_ms if old else now,
                changed_ms=now,
            )  # fmt: skip

        changed = await self._bucket.change(credential_key(account, name), change)
        assert changed is not None  # noqa: S101  `change` never returns None
        return changed

    async def all_of(self, account: str) -> list[CredentialRecord]:
        """Return an account's credentials in the order of their names."""
        return sorted((s.value for s in await self._bucket.items(account)), key=lambda c: c.name)

    async def delete(self, account: str, name: str) -> None:
        """Remove credentials; NotFound."""
        key = credential_key(account, name)
        if await self._bucket.get(key) is None:
            raise no_such("credential")
        await self._bucket.delete(key)
