"""Webhook signing secrets and receivers' URLs, as the gateway issues them and the notifier uses them.

Many receivers' URLs hold a token, so they are stored and sent encrypted, too. Secrets have the form of
Standard Webhooks: `whsec_` and 24 to 64 bytes in base64.
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md#signature-scheme
"""

from __future__ import annotations

import base64
import binascii
import secrets
from typing import Final

from shared.errors import Rejected
from shared.security.secrets import Vault

VAULT_PURPOSE: Final = "webhook-secret"  # the Vault's purpose under which WebhookEndpoint.secret is encrypted
URL_PURPOSE: Final = "webhook-url"
PREFIX: Final = "whsec_"
SEALED: Final = "sealed:"
LONGEST_SEALED_URL: Final = 3072  # for a URL of 2048 characters
_LENGTH: Final = 32


def new_secret() -> str:
    """Return a random secret for an endpoint."""
    return PREFIX + base64.b64encode(secrets.token_bytes(_LENGTH)).decode()


def account_secret(vault: Vault, account: str) -> str:
    """Return the secret that signs an account's one-off notifications; derived, so that it need not be stored."""
    key = base64.urlsafe_b64decode(vault.sign(account, "notification-secret") + "=")
    return PREFIX + base64.b64encode(key).decode()


def seal_url(vault: Vault, url: str) -> str:
    """Return a receiver's URL encrypted for records and messages; at most LONGEST_SEALED_URL characters."""
    return SEALED + vault.encrypt(url, URL_PURPOSE)


def open_url(vault: Vault, sealed: str) -> str:
    """Return a receiver's URL; raise SecretUnreadable when it was encrypted with another SECRET_KEY."""
    return vault.decrypt(sealed.removeprefix(SEALED), URL_PURPOSE) if sealed.startswith(SEALED) else sealed


def secret_key(secret: str) -> bytes:
    """Return the HMAC key of a secret, with or without the prefix; raise Rejected when it is not a secret."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Rejected("a webhook secret is whsec_ and base64") from error
    if not 24 <= len(key) <= 64:
        raise Rejected("a webhook secret has 24 to 64 bytes")
    return key
