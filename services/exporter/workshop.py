"""Makes the destination that a command names: its URL, options and credentials in clear, for one delivery."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from services.exporter.destinations.base import Credential, Destination, Order
from services.exporter.destinations.registry import Makers
from shared.broker.kv import Bucket
from shared.errors import DestinationFailed
from shared.messages.base import Accuracy
from shared.messages.credentials import (
    CREDENTIAL_PURPOSE,
    CredentialRecord,
    credential_key,
    is_default_for,
    is_for,
)
from shared.messages.destinations import DESTINATION_PURPOSE, DestinationSpec
from shared.security.secrets import Vault
from shared.security.webhooks import open_url

WITHOUT: Final = frozenset({"library", "folder"})
"""Types that need no credentials."""
OF_SERVERS: Final = frozenset({"ftp", "sftp"})
"""Types whose credentials tell, besides a login, how the server is known: its key, its TLS."""


@dataclass(frozen=True, slots=True)
class Workshop:
    """Makes destinations. Raises DestinationFailed (final), SecretUnreadable, Unavailable."""

    makers: Makers
    credentials: Bucket[CredentialRecord]
    vault: Vault

    async def make(self, account: str, spec: DestinationSpec, accuracy: Accuracy) -> Destination:
        """Return the destination of a file of this accuracy."""
        maker = self.makers.get(spec.type)
        if maker is None:
            raise DestinationFailed(f"destinations of the type {spec.type} cannot be used here", final=True)
        url = self.vault.decrypt(spec.url, DESTINATION_PURPOSE) if spec.url else ""
        order = Order(
            account=account, export=spec.export, accuracy=accuracy, file_name=spec.file_name, url=url,
            credential=await self._credential(account, spec, url), options=self._options(spec),
        )  # fmt: skip
        return maker(order)

    def _options(self, spec: DestinationSpec) -> dict[str, Any]:
        if not spec.options:
            return {}
        found = json.loads(self.vault.decrypt(spec.options, DESTINATION_PURPOSE))
        if not isinstance(found, dict):
            raise DestinationFailed("the destination's options are not an object", final=True)
        return found

    async def _credential(self, account: str, spec: DestinationSpec, url: str) -> Credential | None:
        """Return those that the destination names, or the default of its type.

        Of the default, where the URL names a user, only what tells how the server is known: the login is the URL's.
        """
        own = not spec.credential and names_user(url)
        if spec.type in WITHOUT or (own and spec.type not in OF_SERVERS):
            return None
        if spec.credential:
            record: CredentialRecord | None = await self._named(account, spec.credential)
        else:
            record = await self._default(account, spec, url)
        if record is None:
            return None
        if record.type not in {spec.type, "oauth" if spec.type == "http" else spec.type}:
            raise DestinationFailed(
                f"the credentials {record.name} are of the type {record.type}, not {spec.type}", final=True
            )
        if not is_for(record, url):
            raise DestinationFailed(f"the credentials {record.name} are for the host {record.host} alone", final=True)
        return self._opened(record.model_copy(update={"public": "", "secret": ""}) if own else record)

    async def _named(self, account: str, name: str) -> CredentialRecord:
        """Return the credentials that have this name now: those made under it, or renamed to it since."""
        stored = await self.credentials.get(credential_key(account, name))
        if stored and stored.value.name == name:
            return stored.value
        for record in await self._all(account):
            if record.name == name:
                return record
        raise DestinationFailed(f"there are no stored credentials of the name {name}", final=True)

    async def _default(self, account: str, spec: DestinationSpec, url: str) -> CredentialRecord | None:
        """Return the default of a type: the later one, where a gateway was killed between taking one and the other."""
        found = (r for r in await self._all(account) if r.type == spec.type and is_default_for(r, url))
        return max(found, key=lambda record: record.changed_ms, default=None)

    async def _all(self, account: str) -> Iterable[CredentialRecord]:
        return [stored.value for stored in await self.credentials.items(account)]

    def _opened(self, record: CredentialRecord) -> Credential:
        private, token = (self._clear(text) for text in (record.secret, record.session_token))
        url = open_url(self.vault, record.url)
        return Credential(record.model_copy(update={"session_token": token, "url": url}), private)

    def _clear(self, secret: str) -> str:
        return self.vault.decrypt(secret, CREDENTIAL_PURPOSE) if secret else ""


def names_user(url: str) -> bool:
    """Return whether a URL holds a user."""
    try:
        return bool(urlsplit(url).username)
    except ValueError:
        return False
