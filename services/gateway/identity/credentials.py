"""Stored credentials of users' sources, destinations and receivers: the bucket `credentials`."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Final

from nats.js import JetStreamContext

from services.gateway.domain.destinations.destinations import Stored as StoredCredentials
from services.gateway.domain.errors import NotFound, StateConflict, no_such
from services.gateway.domain.ids import is_id
from services.gateway.domain.receivers import Receivers
from services.gateway.identity.credential_rules import MASK, NEW, CredentialValues, checked, masked
from shared.broker import buckets
from shared.broker.kv import TRIES, Bucket, Conflict, Stored
from shared.messages.credentials import CREDENTIAL_PURPOSE, CredentialRecord, credential_id
from shared.runtime.clock import Clock
from shared.security.secrets import SecretUnreadable, Vault, redact_url
from shared.security.webhooks import open_url, seal_url

MOST: Final = 100
_TAKEN: Final = "there are other credentials of this name"
Found = Stored[CredentialRecord]


class Credentials:
    """An account's credentials, known by id and by name; secrets are stored encrypted and never returned."""

    def __init__(
        self, jetstream: Callable[[], JetStreamContext], vault: Vault, receivers: Receivers, clock: Clock
    ) -> None:
        self._bucket = Bucket(jetstream, buckets.CREDENTIALS, CredentialRecord)
        self._vault = vault
        self._receivers = receivers
        self._clock = clock

    async def create(
        self, account: str, name: str, given: Mapping[str, Any], *, repeated: bool = False
    ) -> CredentialRecord:
        """Make credentials; Invalid, or StateConflict when the name is taken or the account has 100 others.

        With `repeated`, the same values under the same name are a request that comes again, and answered as the first.
        """
        values = self._checked(dataclasses.replace(NEW, **given))
        there = await self._all(account)
        if found := _named(there, name):
            if repeated and self._values(found.value) == values:
                return found.value
            raise StateConflict(_TAKEN)
        if len(there) >= MOST:
            raise StateConflict(f"an account has at most {MOST} credentials")
        now = self._clock.now_ms()
        record = self._record(account, _free_id(there, name), name, values, created_ms=now)
        try:
            revision = await self._bucket.create(_key(record), record)
        except Conflict:
            if await self._bucket.get(_key(record)) is None:
                raise
            raise StateConflict(_TAKEN) from None
        await self._settle(Stored(_key(record), record, revision), None, there)
        return record

    async def change(
        self, account: str, known_by: str, given: Mapping[str, Any], name: str | None = None
    ) -> CredentialRecord:
        """Change what is given, and the name; the id stays. NotFound, Invalid, StateConflict when the name is taken."""
        for _ in range(TRIES):
            there = await self._all(account)
            found = _known(there, known_by)
            if found is None:
                raise no_such("credential")
            old = found.value
            given = self._meant(old, given)
            if name is not None and (other := _named(there, name)) and other.key != found.key:
                raise StateConflict(_TAKEN)
            values = self._checked(dataclasses.replace(self._values(old), **given))
            record = self._record(account, old.credential, name or old.name, values, created_ms=old.created_ms)
            if "private" not in given:
                record = record.model_copy(update={"secret": old.secret, "masked": old.masked})
            try:
                changed = await self._bucket.replace(found, record)
            except Conflict:
                continue
            await self._settle(changed, old, there)
            return record
        raise Conflict("the credentials keep changing")

    async def put(self, account: str, known_by: str, given: Mapping[str, Any], *, whole: bool) -> CredentialRecord:
        """Change credentials or, when there are none, make them; `whole` resets what is not given. As `change`."""
        values = {"endpoint": "", "region": NEW.region, "path_style": None, "session_token": "", **given}
        for _ in range(TRIES):
            try:
                return await self.change(account, known_by, values if whole else given)
            except NotFound:
                if is_id(known_by):
                    raise
            try:
                return await self.create(account, known_by, given)
            except StateConflict:
                if _named(await self._all(account), known_by) is None:
                    raise
        raise Conflict("the credentials keep changing")

    async def get(self, account: str, known_by: str) -> CredentialRecord:
        """Return credentials by id or name; NotFound."""
        found = _known(await self._all(account), known_by)
        if found is None:
            raise no_such("credential")
        return found.value

    async def all_of(self, account: str) -> list[CredentialRecord]:
        """Return an account's credentials in the order of their names."""
        return sorted((one.value for one in await self._all(account)), key=lambda c: c.name)

    async def stored(self, account: str) -> StoredCredentials:
        """Return an account's credentials as destinations name them; of two defaults, the later one counts."""
        return StoredCredentials(sorted(await self.all_of(account), key=lambda c: c.changed_ms, reverse=True))

    async def delete(self, account: str, known_by: str) -> None:
        """Remove credentials; NotFound. What still names them fails, and says why."""
        found = _known(await self._all(account), known_by)
        if found is None:
            raise no_such("credential")
        await self._bucket.delete(found.key)

    def url_of(self, record: CredentialRecord) -> str:
        """Return the URL that gives tokens; empty when there is none, or it was stored under another SECRET_KEY."""
        try:
            return open_url(self._vault, record.url) if record.url else ""
        except SecretUnreadable:
            return ""

    async def _all(self, account: str) -> list[Found]:
        return await self._bucket.items(account)

    def _checked(self, values: CredentialValues) -> CredentialValues:
        return checked(values, self._receivers.checked)

    def _values(self, record: CredentialRecord) -> CredentialValues:
        """Return a record's values; a secret that no key opens is missing, so that it has to be given anew."""
        return CredentialValues(
            type=record.type,
            public=record.public,
            private=self._opened(record.secret),
            default_for_type=record.default_for_type,
            endpoint=record.endpoint,
            region=record.region,
            path_style=record.path_style,
            session_token=self._opened(record.session_token),
            host_key=record.host_key,
            tls=record.tls,
            host=record.host,
            account_id=record.account_id,
            url=self.url_of(record),
        )

    def _meant(self, old: CredentialRecord, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Drop what is no new value but a secret as it was shown: clients send back what they have read."""
        shown = {"private": old.masked, "session_token": MASK, "url": redact_url(self.url_of(old))}
        return {key: value for key, value in given.items() if not value or shown.get(key) != value}

    def _opened(self, token: str) -> str:
        try:
            return self._vault.decrypt(token, CREDENTIAL_PURPOSE) if token else ""
        except SecretUnreadable:
            return ""

    def _sealed(self, text: str) -> str:
        return self._vault.encrypt(text, CREDENTIAL_PURPOSE) if text else ""

    def _record(
        self, account: str, ident: str, name: str, values: CredentialValues, *, created_ms: int
    ) -> CredentialRecord:
        return CredentialRecord(
            account=account,
            credential=ident,
            name=name,
            type=values.type,
            public=values.public,
            secret=self._sealed(values.private),
            masked=masked(values.private),
            default_for_type=values.default_for_type,
            endpoint=values.endpoint,
            region=values.region,
            path_style=values.path_style,
            session_token=self._sealed(values.session_token),
            host_key=values.host_key,
            tls=values.tls,
            host=values.host,
            account_id=values.account_id,
            url=seal_url(self._vault, values.url) if values.url else "",
            created_ms=created_ms,
            changed_ms=self._clock.now_ms(),
        )

    async def _settle(self, written: Found, before: CredentialRecord | None, there: list[Found]) -> None:
        """Look at what others wrote meanwhile: a name belongs to the first, being a type's default to the last.

        Revisions decide, so that of two gateways at once exactly one goes back. StateConflict when it is this one.
        `there` is what was there before.
        """
        record = written.value
        others = [one for one in await self._all(record.account) if one.key != written.key]
        if any(one.value.name == record.name and one.revision < written.revision for one in others):
            await self._go_back(written, before)
            raise StateConflict(_TAKEN)
        if not record.default_for_type or (before and before.default_for_type):
            return
        once = {one.key for one in there if one.value.default_for_type}
        for other in (one for one in others if one.value.default_for_type and one.value.type == record.type):
            if other.key in once:
                await self._bucket.change(other.key, _no_default)
            elif other.revision < written.revision:
                with contextlib.suppress(Conflict):  # it has just been changed again, after this one
                    await self._bucket.replace(other, other.value.model_copy(update={"default_for_type": False}))

    async def _go_back(self, written: Found, before: CredentialRecord | None) -> None:
        if before is None:
            await self._bucket.delete(written.key, written.revision)
        else:
            await self._bucket.replace(written, before)


def _no_default(record: CredentialRecord | None) -> CredentialRecord | None:
    if record is None or not record.default_for_type:
        return None
    return record.model_copy(update={"default_for_type": False})


def _key(record: CredentialRecord) -> str:
    return f"{record.account}.{record.credential}"


def _named(there: list[Found], name: str) -> Found | None:
    return next((one for one in there if one.value.name == name), None)


def _known(there: list[Found], known_by: str) -> Found | None:
    """Return the credentials of a name, or else of an id."""
    by_id = (one for one in there if is_id(known_by) and one.value.credential == known_by)
    return _named(there, known_by) or next(by_id, None)


def _free_id(there: list[Found], name: str) -> str:
    """Return the id of new credentials; others that were made under the same name and renamed keep theirs."""
    taken = {one.value.credential for one in there}
    names = (name if n == 0 else f"{name}\0{n}" for n in range(MOST + 1))
    return next(ident for ident in map(credential_id, names) if ident not in taken)
