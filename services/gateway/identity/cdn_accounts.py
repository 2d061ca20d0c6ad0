"""Accounts of the CDNetworks API: a name n and a key, with which requests are signed."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import defaultdict
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from nats.js import JetStreamContext
from pydantic import Field

from services.gateway.domain.errors import Denied, StateConflict
from shared.broker import buckets
from shared.broker.following import Following
from shared.broker.kv import Bucket, Change, Conflict, Stored
from shared.messages.base import AccountId, Millis, Record
from shared.runtime.clock import Clock
from shared.security.secrets import SecretUnreadable, Vault

KEY_PURPOSE: Final = "cdn-key"
LONGEST_RANDOM: Final = 10
MOST: Final = 100
_MS: Final = timedelta(milliseconds=1)


class CdnAccount(Record):
    """An account of the API: bucket `keys`, under `cdn.<sha256 of n>`."""

    account: AccountId
    name: str = Field(max_length=64)
    key: str = Field(description="Encrypted")
    created_ms: Millis


class UsedRandom(Record):
    """An r that was used: bucket `nonces`, under `<sha256 of n>.<sha256 of r>`, as long as n exists."""

    at_ms: Millis


class Refused(Denied):
    """The request's signature is not valid; the message is for people."""


def signature(random: str, key: str) -> str:
    """Return k = md5(r + key), as the API defines it."""
    return hashlib.md5((random + key).encode(), usedforsecurity=False).hexdigest()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _is_now(random: str, now_ms: int, window: timedelta) -> bool:
    return random.isascii() and random.isdecimal() and abs(int(random) * 1000 - now_ms) <= window // _MS


class NameIndex(Following[CdnAccount]):
    """The accounts of the API, by key in the bucket and by the account that they belong to."""

    pattern = "cdn.*"

    def __init__(self, jetstream: Callable[[], JetStreamContext]) -> None:
        super().__init__(jetstream, buckets.KEYS, CdnAccount)
        self.known: dict[str, CdnAccount] = {}
        self._accounts: defaultdict[str, dict[str, CdnAccount]] = defaultdict(dict)

    def of(self, account: str) -> list[CdnAccount]:
        """Return an account's names, oldest first."""
        return sorted(self._accounts.get(account, {}).values(), key=lambda a: (a.created_ms, a.name))

    def _forget(self) -> None:
        self.known.clear()
        self._accounts.clear()

    def _take(self, change: Change[CdnAccount]) -> None:
        before = self.known.pop(change.key, None)
        if before is not None:
            self._accounts[before.account].pop(change.key, None)
            if not self._accounts[before.account]:
                del self._accounts[before.account]
        if change.value is not None:
            self.known[change.key] = change.value
            self._accounts[change.value.account][change.key] = change.value


class CdnAccounts:
    """Makes accounts of the API and verifies requests; with a `window`, r must be a time no further from now."""

    def __init__(
        self, jetstream: Callable[[], JetStreamContext], vault: Vault, clock: Clock, window: timedelta = timedelta(0)
    ) -> None:
        self._bucket = Bucket(jetstream, buckets.KEYS, CdnAccount)
        self.index = NameIndex(jetstream)
        self._used = Bucket(jetstream, buckets.NONCES, UsedRandom)
        self._vault = vault
        self._clock = clock
        self._window = window

    async def create(self, account: str, name: str, key: str | None = None) -> str:
        """Make an account and return its key, only here; StateConflict when the name is taken or there are 100.

        With a given `key`, a repeated request (the first answer may have been lost) is answered as the first.
        """
        given, stored_key = key, f"cdn.{_digest(name)}"
        there = await self.all_of(account)
        if len(there) >= MOST and all(one.name != name for one in there):
            raise StateConflict(f"an account has at most {MOST} accounts of the CDNetworks API")
        key = key or secrets.token_hex(16)
        record = CdnAccount(
            account=account,
            name=name,
            key=self._vault.encrypt(key, KEY_PURPOSE),
            created_ms=self._clock.now_ms(),
        )
        try:
            await self._bucket.create(stored_key, record)
        except Conflict as error:
            stored = await self._bucket.get(stored_key)
            if given is None or stored is None or stored.value.account != account or not self._is_key(stored, given):
                raise StateConflict("account: this name is taken") from error
        await self.index.refresh()
        return key

    async def all_of(self, account: str) -> list[CdnAccount]:
        """Return an account's names, oldest first. Unavailable."""
        await self.index.refresh()
        return self.index.of(account)

    async def delete(self, account: str, name: str) -> bool:
        """Remove a name; return False when the account does not have it."""
        key = f"cdn.{_digest(name)}"
        stored = await self._bucket.get(key)
        if stored is None or stored.value.account != account:
            return False
        await self._bucket.delete(key)
        for used in await self._used.keys(_digest(name)):
            await self._used.delete(used)
        return True

    async def verify(
        self,
        name: str,
        random: str,
        given: str,
        stranger: Callable[[], None] = lambda: None,
        known: Callable[[str], None] = lambda _: None,
    ) -> str:
        """Return the account of a request. Refused: unknown name, wrong k, an r that was used or is not the time now.

        `stranger` is called before the broker is asked about a request whose signature is not valid by what this
        instance knows; it may raise. The broker is asked about valid ones, too: the name may have been removed.
        `known` is called with the account of a signed request before its r is stored as used; it may raise.
        """
        if not 1 <= len(random) <= LONGEST_RANDOM:
            raise Refused(f"r must have 1 to {LONGEST_RANDOM} characters")
        stored_key = f"cdn.{_digest(name)}"
        if not self._is_signed(self.index.known.get(stored_key), random, given):
            stranger()
        stored = await self._bucket.get(stored_key)
        if stored is None or not self._is_signed(stored.value, random, given):
            raise Refused("n or k is wrong")
        known(stored.value.account)
        now_ms = self._clock.now_ms()
        if self._window and not _is_now(random, now_ms, self._window):
            raise Refused(f"r must be the present time in s, to within {self._window.total_seconds():g} s")
        try:
            await self._used.create(f"{_digest(name)}.{_digest(random)}", UsedRandom(at_ms=now_ms))
        except Conflict as error:
            raise Refused("this r was used before") from error
        return stored.value.account

    def _is_key(self, stored: Stored[CdnAccount], given: str) -> bool:
        return hmac.compare_digest(self._key(stored.value).encode(), given.encode())

    def _is_signed(self, record: CdnAccount | None, random: str, given: str) -> bool:
        key = self._key(record) if record else secrets.token_hex(16)  # an unknown name takes the same time
        matches = hmac.compare_digest(signature(random, key).encode(), given.lower().encode())
        return matches and record is not None

    def _key(self, record: CdnAccount) -> str:
        try:
            return self._vault.decrypt(record.key, KEY_PURPOSE)
        except SecretUnreadable:
            return secrets.token_hex(16)
