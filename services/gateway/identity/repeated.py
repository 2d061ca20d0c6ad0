"""Secrets that requests with an Idempotency-Key make: a repetition gets the same one, and nothing is stored for it."""

from __future__ import annotations

from typing import Final

from services.gateway.identity.keys import PREFIX
from shared.security.secrets import Vault, hash_token

PURPOSE: Final = "repeated-request"


class RepeatedSecrets:
    """Derives secrets from the id that a request's key names; nobody can without this installation's key."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def api_key(self, ident: str | None) -> str | None:
        """Return the text of an API key; None without an id."""
        return PREFIX + self._vault.sign(f"api key {ident}", PURPOSE) if ident else None

    def cdn_key(self, ident: str | None) -> str | None:
        """Return the key of an account of the CDNetworks API: 32 hex digits; None without an id."""
        return hash_token(self._vault.sign(f"cdn key {ident}", PURPOSE))[:32] if ident else None

    def partner_secret(self, ident: str | None) -> str | None:
        """Return the secret of a partner of the Kaltura API: 32 hex digits; None without an id."""
        return hash_token(self._vault.sign(f"partner secret {ident}", PURPOSE))[:32] if ident else None
