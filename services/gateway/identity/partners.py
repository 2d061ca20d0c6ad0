"""Partners of the Kaltura API: a number and a secret, with which clients sign their sessions for an account."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from typing import Final

from nats.js import JetStreamContext
from pydantic import Field

from services.gateway.domain.errors import StateConflict, no_such
from shared.broker import buckets
from shared.broker.following import Following
from shared.broker.kv import Bucket, Change, Conflict, Stored
from shared.errors import Unavailable
from shared.messages.base import AccountId, Millis, Record
from shared.runtime.clock import Clock
from shared.security.secrets import SecretUnreadable, Vault

PARTNER_PURPOSE: Final = "partner-secret"
MEDIA_SERVERS: Final = -5
"""The partner of media servers, which acts for others."""
ENGINES: Final = "media-servers"
"""The account that this partner's own records are under; its key in the bucket is no account's."""
_FIRST, _NUMBERS = 100_000, 2_000_000_000
_TRIES: Final = 8


class PartnerRecord(Record):
    """A partner: bucket `keys`, under `partner.<id>`."""

    account: AccountId
    partner: int
    secret: str = Field("", description="Encrypted; empty: removed, the number stays its account's")
    created_ms: Millis


class PartnerOf(Record):
    """The number of an account: bucket `keys`, under `partnerof.<account>`; never removed."""

    partner: int


class PartnerIndex(Following[PartnerRecord]):
    """The partners, by number."""

    pattern = "partner.*"

    def __init__(self, jetstream: Callable[[], JetStreamContext]) -> None:
        super().__init__(jetstream, buckets.KEYS, PartnerRecord)
        self.known: dict[str, PartnerRecord] = {}

    def _forget(self) -> None:
        self.known.clear()

    def _take(self, change: Change[PartnerRecord]) -> None:
        if change.value is None:
            self.known.pop(change.key, None)
        else:
            self.known[change.key] = change.value


def _key(partner: int) -> str:
    return f"partner.{partner}"


class Partners:
    """Makes, finds and removes partners; an account has at most one."""

    def __init__(self, jetstream: Callable[[], JetStreamContext], vault: Vault, clock: Clock) -> None:
        self._bucket = Bucket(jetstream, buckets.KEYS, PartnerRecord)
        self._of = Bucket(jetstream, buckets.KEYS, PartnerOf)
        self.index = PartnerIndex(jetstream)
        self._vault = vault
        self._clock = clock

    async def create(self, account: str, given: str | None = None) -> tuple[int, str]:
        """Make an account a partner; return its number, the same as ever, and its secret, only here.

        With a `given` secret, a repeated request is answered as the first. StateConflict when it is a partner already.
        """
        number = await self._number(account)
        return number, await self._secret_of(number, account, given)

    async def create_media_servers(self, given: str | None = None) -> tuple[int, str]:
        """Make the partner of media servers; StateConflict when it is there."""
        return MEDIA_SERVERS, await self._secret_of(MEDIA_SERVERS, ENGINES, given)

    async def remove(self, number: int, account: str | None = None) -> None:
        """Remove a partner, at once; with an `account`, only that one's. NotFound."""
        stored = await self._bucket.get(_key(number))
        if stored is None or not stored.value.secret or account not in {None, stored.value.account}:
            raise no_such("partner")
        await self._bucket.replace(stored, stored.value.model_copy(update={"secret": ""}))
        await self.index.refresh()

    async def all(self) -> list[PartnerRecord]:
        """Return all partners, oldest first. Unavailable."""
        await self.index.refresh()
        return sorted((p for p in self.index.known.values() if p.secret), key=lambda p: (p.created_ms, p.partner))

    async def find(self, number: int, stranger: Callable[[], None] = lambda: None) -> PartnerRecord | None:
        """Return a partner as the broker knows it now; None when there is none.

        `stranger` is called before the broker is asked about a number that is not in memory; it may raise.
        """
        if _key(number) not in self.index.known:
            stranger()
        stored = await self._bucket.get(_key(number))
        return stored.value if stored is not None and stored.value.secret else None

    def remembered(self, number: int) -> PartnerRecord | None:
        """Return a partner as it was at most a few seconds ago."""
        found = self.index.known.get(_key(number))
        return found if found and found.secret else None

    def secret(self, record: PartnerRecord) -> str:
        """Return a partner's secret; a random one when it was sealed under another SECRET_KEY."""
        try:
            return self._vault.decrypt(record.secret, PARTNER_PURPOSE)
        except SecretUnreadable:
            return secrets.token_hex(16)

    async def _number(self, account: str) -> int:
        """Return an account's number, a new one if it has none."""
        of_account = f"partnerof.{account}"
        for _ in range(_TRIES):
            stored = await self._of.get(of_account)
            if stored is not None:
                return stored.value.partner
            number = _FIRST + secrets.randbelow(_NUMBERS)
            record = PartnerRecord(account=account, partner=number, created_ms=self._clock.now_ms())
            try:
                await self._bucket.create(_key(number), record)
                await self._of.create(of_account, PartnerOf(partner=number))
            except Conflict:
                continue
            return number
        raise Unavailable("no number for the partner")

    async def _secret_of(self, number: int, account: str, given: str | None) -> str:
        secret = given or secrets.token_hex(16)
        record = PartnerRecord(
            account=account, partner=number, secret=self._vault.encrypt(secret, PARTNER_PURPOSE),
            created_ms=self._clock.now_ms(),
        )  # fmt: skip
        stored = await self._bucket.get(_key(number))
        try:
            if stored is None:
                await self._bucket.create(_key(number), record)
            elif stored.value.secret:
                return self._same(stored, given)
            else:
                await self._bucket.replace(stored, record)
        except Conflict:
            stored = await self._bucket.get(_key(number))
            if stored is None:
                raise
            return self._same(stored, given)
        await self.index.refresh()
        return secret

    def _same(self, stored: Stored[PartnerRecord], given: str | None) -> str:
        if given is None or not hmac.compare_digest(self.secret(stored.value).encode(), given.encode()):
            raise StateConflict("account: it is a partner already; remove that one to get a new secret")
        return given
