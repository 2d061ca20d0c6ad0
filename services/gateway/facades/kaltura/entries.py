"""Live entries: static jobs that are always active, by ids of the API's form, and what clients set of them."""

from __future__ import annotations

import asyncio
import hmac
import re
import secrets
import string
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from nats.js import JetStreamContext

from services.gateway.domain.errors import NotFound, TooMany
from services.gateway.domain.jobs.jobs import Jobs, NewJob
from services.gateway.domain.quotas import NUMBER_AGAIN
from services.gateway.facades.kaltura.entry_fields import Settings, changed
from services.gateway.facades.kaltura.errors import KalturaError
from services.gateway.identity.aliases import SETTINGS_PURPOSE, Alias, Aliases, Conflict
from shared.broker import buckets
from shared.broker.kv import Bucket, Stored
from shared.errors import Rejected, Unavailable
from shared.messages.jobs import JobRecord
from shared.messages.keys import BROADCAST_PURPOSE, IngestKey, broadcast_key
from shared.runtime.clock import Clock
from shared.runtime.logging import get_logger
from shared.security.secrets import SecretUnreadable, Vault, hash_token

log = get_logger()
VENDOR: Final = "kaltura"
MOST: Final = 2000
TRIES: Final = 40
AT_ONCE: Final = 100
"""Jobs that are read at the same time."""
RECONNECT: Final = timedelta(minutes=3)
"""A pause after which a broadcast is over (the vendor's live_session_reconnect_timeout)."""
_ID: Final = re.compile(r"[01]_[0-9a-z]{8}", re.ASCII)
_LETTERS: Final = string.ascii_lowercase + string.digits
ABSENT: Final = Settings(partner=0)


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry: its alias, what was set, and its job (None: it was deleted by /v1)."""

    alias: Alias
    settings: Settings
    job: JobRecord | None

    @property
    def id(self) -> str:
        """Its id."""
        return self.alias.name

    @property
    def account(self) -> str:
        """Whose it is."""
        return self.alias.account

    @property
    def publishes(self) -> bool:
        """Whether an encoder publishes to our own ingester."""
        return self.job is not None and bool(self.job.open_sessions) and not self.job.ended


def not_found(entry: str) -> KalturaError:
    """Return the exception for an id that the partner does not have."""
    return KalturaError("ENTRY_ID_NOT_FOUND", ENTRY_ID=entry)


class Entries:
    """Makes, finds, changes and deletes entries. An id is one entry's of all accounts: addresses name it alone."""

    def __init__(self, jetstream: Callable[[], JetStreamContext], jobs: Jobs, vault: Vault, clock: Clock) -> None:
        self.aliases = Aliases(jetstream, VENDOR)
        self._keys = Bucket(jetstream, buckets.KEYS, IngestKey)
        self._jobs = jobs
        self._vault = vault
        self._clock = clock

    async def add(self, account: str, settings: Settings) -> Entry:
        """Make an entry, with a new token. TooMany, Unavailable."""
        if len(await self.aliases.all_of(account)) >= MOST:
            raise TooMany("QUOTA_EXCEEDED", f"the account has at most {MOST} entries; delete some", NUMBER_AGAIN)
        now = self._clock.now_ms()
        for _ in range(TRIES):
            entry = f"0_{''.join(secrets.choice(_LETTERS) for _ in range(8))}"
            alias = Alias(
                account=account, name=entry, event=uuid.uuid4().hex, settings=self._sealed(settings), created_ms=now,
                changed_ms=now,
            )  # fmt: skip
            key = IngestKey(account=account, event=alias.event, owner=str(settings.partner), token=self._new_token())
            try:
                await self._keys.create(_key(entry), key)
            except Conflict:
                continue
            await self._make(await self.aliases.write(None, alias), settings)
            return await self.get(account, entry)
        raise Unavailable("no id for the entry")

    async def _make(self, stored: Stored[Alias], settings: Settings) -> None:
        alias = stored.value
        new = NewJob(
            name=settings.texts.get("name") or alias.name,
            reconnect_time_s=RECONNECT // timedelta(seconds=1),
            event_length_s=0,
            dvr_window_s=settings.window_s,
            static=True,
            fields={},
            always_active=True,
        )
        try:
            await self._jobs.create(alias.account, alias.event, new)
        except Rejected:
            await self._keys.delete(_key(alias.name))
            await self.aliases.remove(stored)
            raise
        await self.aliases.confirm(alias)

    async def get(self, account: str, entry: str) -> Entry:
        """Return a partner's entry; ENTRY_ID_NOT_FOUND."""
        stored = await self.aliases.get(account, entry) if _ID.fullmatch(entry) else None
        if stored is None or not stored.value.made:
            raise not_found(entry)
        return await self.of(stored.value)

    async def anyones(self, entry: str, stranger: Callable[[], None]) -> Entry:
        """Return an entry of any account; ENTRY_ID_NOT_FOUND. `stranger`: before the broker is asked about an id."""
        if not _ID.fullmatch(entry):
            raise not_found(entry)
        known = self.aliases.called(entry)
        if not known:
            stranger()
            key = await self._keys.get(_key(entry))
            if key is None:
                raise not_found(entry)
            return await self.get(key.value.account, entry)
        return await self.get(known[0].account, entry)

    async def of(self, alias: Alias) -> Entry:
        """Return the entry of an alias."""
        return Entry(alias, self.settings(alias), await self._job(alias))

    async def many(self, aliases: Sequence[Alias]) -> list[Entry]:
        """Return the entries of aliases, in their order."""
        found: list[Entry] = []
        for begin in range(0, len(aliases), AT_ONCE):
            found += await asyncio.gather(*map(self.of, aliases[begin : begin + AT_ONCE]))
        return found

    async def all_of(self, account: str) -> list[Alias]:
        """Return an account's entries, the newest first."""
        there = [alias for alias in await self.aliases.all_of(account) if alias.made]
        return sorted(there, key=lambda alias: (-alias.created_ms, alias.name))

    async def update(self, account: str, entry: str, changes: dict[str, Any], check: Callable[..., None]) -> Entry:
        """Change what is set of an entry; `check` sees the settings before and after, and may raise."""

        def made(now: Alias | None) -> Alias:
            if now is None or not now.made:
                raise not_found(entry)
            before = self.settings(now)
            after = changed(before, changes)
            check(before, after)
            at_ms = max(self._clock.now_ms(), now.changed_ms)
            return now.model_copy(update={"settings": self._sealed(after), "changed_ms": at_ms})

        if not _ID.fullmatch(entry):
            raise not_found(entry)
        alias = await self.aliases.change(account, entry, made)
        after = self.settings(alias)
        await self._jobs.describe(account, alias.event, after.texts.get("name") or entry, "", "")
        await self._jobs.rewind(account, alias.event, after.window_s)
        return await self.get(account, entry)

    async def delete(self, account: str, entry: str) -> None:
        """End an entry's job and drop its id; its recording stays, under the job's id. ENTRY_ID_NOT_FOUND."""
        found = await self.get(account, entry)
        stored = await self.aliases.get(account, entry)
        await self._keys.delete(_key(entry))
        if stored is not None:
            await self.aliases.remove(stored)
        if found.job is not None and not found.job.ended and found.job.state not in {"finishing", "cancelling"}:
            await self._jobs.stop(account, found.alias.event)

    async def token(self, entry: Entry) -> str:
        """Return the token that an entry's encoder has to know; empty when it cannot be read."""
        stored = await self._keys.get(_key(entry.id))
        try:
            return self._vault.decrypt(stored.value.token, BROADCAST_PURPOSE) if stored else ""
        except SecretUnreadable:
            log.warning("entry.token.unreadable", event_id=entry.alias.event)
            return ""

    async def is_token(self, entry: Entry, given: str) -> bool:
        """Return whether a token is an entry's."""
        right = await self.token(entry)
        return bool(right) and hmac.compare_digest(right.encode(), given.encode())

    async def renew_token(self, entry: Entry) -> None:
        """Give an entry another token; whoever publishes goes on."""
        renewed = self._new_token()
        await self._keys.change(
            _key(entry.id), lambda key: key.model_copy(update={"token": renewed}) if key is not None else None
        )

    def settings(self, alias: Alias) -> Settings:
        """Return what was set of an entry; nothing when it was encrypted under another SECRET_KEY."""
        try:
            return Settings.model_validate_json(self._vault.decrypt(alias.settings, SETTINGS_PURPOSE))
        except SecretUnreadable:
            log.warning("entry.settings.unreadable", event_id=alias.event)
            return ABSENT

    async def _job(self, alias: Alias) -> JobRecord | None:
        try:
            return await self._jobs.get(alias.account, alias.event)
        except NotFound:
            return None

    def _sealed(self, settings: Settings) -> str:
        return self._vault.encrypt(settings.model_dump_json(), SETTINGS_PURPOSE)

    def _new_token(self) -> str:
        return self._vault.encrypt(secrets.token_hex(4), BROADCAST_PURPOSE)


def _key(entry: str) -> str:
    return f"ingest.{hash_token(broadcast_key(entry))}"
