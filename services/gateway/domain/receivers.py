"""URLs that users name for Reelay to call."""

from __future__ import annotations

from typing import Final

from services.gateway.domain.errors import invalid
from shared.errors import Rejected
from shared.security.netguard import check_url
from shared.security.netguard.addresses import Networks
from shared.security.secrets import Vault
from shared.security.webhooks import seal_url

SCHEMES: Final = frozenset({"http", "https"})


class Receivers:
    """Checks and seals the URLs of receivers; `networks` may be called besides public addresses."""

    def __init__(self, networks: Networks, vault: Vault) -> None:
        self._networks = networks
        self._vault = vault

    def checked(self, field: str, url: str) -> str:
        """Return a receiver's normalised URL; Invalid when it may not be called."""
        try:
            return check_url(url, schemes=SCHEMES, allowed=self._networks).url
        except Rejected as error:
            raise invalid(field, str(error)) from error

    def sealed(self, url: str) -> str:
        """Return a checked URL as it is stored."""
        return seal_url(self._vault, url)
