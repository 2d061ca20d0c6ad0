"""URLs that users name for Reelay to call."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote, urlsplit, urlunsplit

from services.gateway.domain.errors import invalid
from shared.errors import Rejected
from shared.messages.credentials import CREDENTIAL_PURPOSE, CredentialRecord
from shared.security.netguard import check_url
from shared.security.netguard.addresses import Networks
from shared.security.secrets import SecretUnreadable, Vault
from shared.security.webhooks import seal_url

SCHEMES: Final = frozenset({"http", "https"})


class Receivers:
    """Checks and seals the URLs of receivers; `networks` may be called besides public addresses."""

    def __init__(self, networks: Networks, vault: Vault) -> None:
        self._networks = networks
        self._vault = vault

    def checked(self, field: str, url: str, *, login: bool = False) -> str:
        """Return a receiver's normalised URL, with `login` also one with user and password; Invalid."""
        try:
            return check_url(url, schemes=SCHEMES, allowed=self._networks, credentials=login).url
        except Rejected as error:
            raise invalid(field, str(error)) from error

    def with_login(self, field: str, url: str, record: CredentialRecord) -> str:
        """Return a checked URL with the user and the password of stored credentials; Invalid."""
        parts = urlsplit(url)
        if "@" in parts.netloc:
            raise invalid(field, "go with a URL without user and password")
        if record.type != "http":
            raise invalid(field, f"are of type {record.type}; notifications take http or oauth")
        try:
            password = self._vault.decrypt(record.secret, CREDENTIAL_PURPOSE) if record.secret else ""
        except SecretUnreadable as error:
            raise invalid(field, "cannot be opened with this SECRET_KEY: store them again") from error
        login = f"{quote(record.public, safe='')}:{quote(password, safe='')}"
        return self.checked(field, urlunsplit(parts._replace(netloc=f"{login}@{parts.netloc}")), login=True)

    def sealed(self, url: str) -> str:
        """Return a checked URL as it is stored."""
        return seal_url(self._vault, url)
