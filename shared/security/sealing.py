"""Encryption at rest: AES-256-GCM under keys that are derived from an installation key, one for each purpose.

A token is `v2.<key id>.<base64url of nonce, ciphertext and tag>`. Version, key id and purpose are its associated data
(NIST SP 800-38D), the nonce is 96 random bits. Tokens of the version before were Fernet's, without a key id: they still
open, but none is made any more.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VERSION: Final = "v2"
_NONCE: Final = 12
_TAG: Final = 16


class SealingKey:
    """An installation key, and what derives from it. There are few purposes: their derived keys are cached."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._derived: dict[str, bytes] = {}
        self._ciphers: dict[str, AESGCM] = {}
        self.ident: Final = self._digest("key-id").hex()[:8]
        """Eight hex digits by which its tokens are known; they tell nothing of the key."""

    def _digest(self, label: str) -> bytes:
        return hmac.digest(self._key, f"reelay {label}".encode(), "sha256")

    def derived(self, purpose: str) -> bytes:
        """Return the 32 bytes with which a purpose's signatures are made."""
        if purpose not in self._derived:
            self._derived[purpose] = hmac.digest(self._key, f"reelay/{purpose}".encode(), "sha256")
        return self._derived[purpose]

    def _cipher(self, purpose: str) -> AESGCM:
        if purpose not in self._ciphers:
            self._ciphers[purpose] = AESGCM(self._digest(f"{VERSION} {purpose}"))
        return self._ciphers[purpose]

    def _beside(self, purpose: str) -> bytes:
        return f"{VERSION}.{self.ident}.{purpose}".encode()

    def seal(self, text: str, purpose: str) -> str:
        """Return the text encrypted for storage."""
        nonce = secrets.token_bytes(_NONCE)
        sealed = nonce + self._cipher(purpose).encrypt(nonce, text.encode(), self._beside(purpose))
        return f"{VERSION}.{self.ident}.{base64.urlsafe_b64encode(sealed).rstrip(b'=').decode()}"

    def opened(self, token: str, purpose: str) -> str | None:
        """Return the text of a token; None when another key or purpose made it, or it was changed."""
        version, _, rest = token.partition(".")
        if version != VERSION:
            return self._opened_fernet(token, purpose)
        ident, _, body = rest.partition(".")
        if ident != self.ident:
            return None
        try:
            sealed = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
            if len(sealed) < _NONCE + _TAG:
                return None
            return self._cipher(purpose).decrypt(sealed[:_NONCE], sealed[_NONCE:], self._beside(purpose)).decode()
        except (InvalidTag, binascii.Error, ValueError):
            return None

    def _opened_fernet(self, token: str, purpose: str) -> str | None:
        try:
            return Fernet(base64.urlsafe_b64encode(self.derived(purpose))).decrypt(token.encode()).decode()
        except InvalidToken:
            return None
