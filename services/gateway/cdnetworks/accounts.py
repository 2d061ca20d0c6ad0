"""Accounts of the CDNetworks API: a name n and a key, by which requests are signed."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from nats.js import JetStreamContext
from pydantic import Field

from services.gateway.http.problems import ApiError
from shared.clock import Clock
from shared.kv import Bucket, Conflict
from shared.messages.base import AccountId, Millis, Record
from shared.secrets import SecretUnreadable, Vault

KEY_PURPOSE: Final = "cdn-key"
LONGEST_RANDOM: Final = 10
_MS: Final = timedelta(milliseconds=1)


class CdnAccount(Record):
    """An account of the API: bucket `keys`, under `cdn.<sha256 of n>`."""

    account: AccountId
    name: str = Field(max_length=64)
    key: str = Field(description="Encrypted")
    created_ms: Millis


class UsedRandom(Record):
    """An r that was used: bucket `nonces`, under `<sha256 of n>.<sha256 of r>`, as long as n is known."""

    at_ms: Millis


class Refused(Exception):  # noqa: N818  what it is for the caller
    """The request is not signed as it must be; the message is for people."""


def signature(random: str, key: str) -> str:
    """Give k = md5(r + key), as the API defines it."""
    return hashlib.md5((random + key).encode(), usedforsecurity=False).hexdigest()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _is_now(random: str, now_ms: int, window: timedelta) -> bool:
    return random.isascii() and random.isdecimal() and abs(int(random) * 1000 - now_ms) <= window // _MS


class CdnAccounts:
    """Makes accounts of the API and checks who calls; with a `window`, r must be a time no further from now."""

    def __init__(
        self, jetstream: Callable[[], JetStreamContext], vault: Vault, clock: Clock, window: timedelta = timedelta(0)
    ) -> None:
        self._bucket = Bucket(jetstream, "keys", CdnAccount)
        self._used = Bucket(jetstream, "nonces", UsedRandom)
        self._vault = vault
        self._clock = clock
        self._window = window

    async def create(self, account: str, name: str, key: str | None = None) -> str:
        """Make an account and give its key, which is told here only; ApiError 409 when the name is taken."""
        key = key or secrets.token_hex(16)
        record = CdnAccount(
            account=account,
            name=name,
            key=self._vault.encrypt(key, KEY_PURPOSE),
            created_ms=self._clock.now_ms(),
        )
        try:
            await self._bucket.create(f"cdn.{_digest(name)}", record)
        except Conflict as error:
            raise ApiError(409, "account: this name is taken") from error
        return key

    async def all_of(self, account: str) -> list[CdnAccount]:
        """List an account's names, oldest first."""
        found = [s.value for s in await self._bucket.items("cdn") if s.value.account == account]
        return sorted(found, key=lambda a: (a.created_ms, a.name))

    async def delete(self, account: str, name: str) -> bool:
        """Remove a name; false when the account has none such."""
        key = f"cdn.{_digest(name)}"
        stored = await self._bucket.get(key)
        if stored is None or stored.value.account != account:
            return False
        await self._bucket.delete(key)
        for used in await self._used.keys(_digest(name)):
            await self._used.delete(used)
        return True

    async def verify(self, name: str, random: str, given: str) -> str:
        """Give whose request it is. Refused: unknown name, wrong k, an r that was used, or is not the present time."""
        if not 1 <= len(random) <= LONGEST_RANDOM:
            raise Refused(f"r must have 1 to {LONGEST_RANDOM} characters")
        stored = await self._bucket.get(f"cdn.{_digest(name)}")
        key = self._key(stored.value) if stored else secrets.token_hex(16)  # an unknown name takes as long
        matches = hmac.compare_digest(signature(random, key).encode(), given.lower().encode())
        if stored is None or not matches:
            raise Refused("n or k is wrong")
        now_ms = self._clock.now_ms()
        if self._window and not _is_now(random, now_ms, self._window):
            raise Refused(f"r must be the present time in s, to within {self._window.total_seconds():g} s")
        try:
            await self._used.create(f"{_digest(name)}.{_digest(random)}", UsedRandom(at_ms=now_ms))
        except Conflict as error:
            raise Refused("this r was used before") from error
        return stored.value.account

    def _key(self, record: CdnAccount) -> str:
        try:
            return self._vault.decrypt(record.key, KEY_PURPOSE)
        except SecretUnreadable:
            return secrets.token_hex(16)
