"""Secrets: the installation's key, encryption at rest, signatures, constant-time comparison, redaction."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from cryptography.fernet import Fernet, InvalidToken

from shared.errors import Permanent
from shared.runtime.settings import Settings

KEY_FILE: Final = "secret.key"
REDACTED: Final = "***"


class SecretUnreadable(Permanent):
    """A stored secret cannot be decrypted with this installation's key."""


def write_private(path: Path, text: str) -> bool:
    """Write a file atomically that only its owner can read; return False when it exists already. Raise OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        draft.unlink(missing_ok=True)  # on a full disk too
    return True


def read_private(path: Path) -> str:
    """Return the text that `write_private` wrote; raise OSError, also when the file is empty."""
    text = path.read_text().strip()
    if not text:
        raise OSError(f"{path} is empty; restore it, or remove it to have a new one made")
    return text


def installation_key(settings: Settings) -> bytes:
    """Return SECRET_KEY, or the key kept in DATA_DIR, which is created on first use. Raise OSError."""
    if given := settings.secret_key.get_secret_value():
        return given.encode()
    path = settings.data_dir / KEY_FILE
    if not path.exists():
        write_private(path, secrets.token_urlsafe(48))
    return read_private(path).encode()


class Vault:
    """Encrypts and signs with keys derived from the installation's key, a separate one for each purpose.

    There are few purposes, named in the code: their derived keys are cached.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._derived: dict[str, bytes] = {}
        self._ciphers: dict[str, Fernet] = {}

    def _derive(self, purpose: str) -> bytes:
        if purpose not in self._derived:
            self._derived[purpose] = hmac.digest(self._key, f"reelay/{purpose}".encode(), "sha256")
        return self._derived[purpose]

    def _cipher(self, purpose: str) -> Fernet:
        if purpose not in self._ciphers:
            self._ciphers[purpose] = Fernet(base64.urlsafe_b64encode(self._derive(purpose)))
        return self._ciphers[purpose]

    def encrypt(self, text: str, purpose: str) -> str:
        """Return the text encrypted for storage."""
        return self._cipher(purpose).encrypt(text.encode()).decode()

    def decrypt(self, token: str, purpose: str) -> str:
        """Decrypt a result of `encrypt`; raise SecretUnreadable when key or purpose differ."""
        try:
            return self._cipher(purpose).decrypt(token.encode()).decode()
        except InvalidToken as error:
            raise SecretUnreadable(f"a stored {purpose} does not open with this SECRET_KEY") from error

    def sign(self, text: str, purpose: str) -> str:
        """Return the HMAC-SHA256 of the text: 43 URL-safe characters."""
        digest = hmac.digest(self._derive(purpose), text.encode(), "sha256")
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def fingerprint(self, text: str, purpose: str) -> str:
        """Return 16 hex digits that identify a secret; without the key, nobody can test guesses against them."""
        return hmac.digest(self._derive(purpose), text.encode(), "sha256").hex()[:16]

    def verify(self, text: str, signature: str, purpose: str) -> bool:
        """Return whether a signature is right, compared in constant time."""
        return hmac.compare_digest(self.sign(text, purpose).encode(), signature.encode())


def hash_token(token: str) -> str:
    """Return the hash of a random token of full entropy, for look-up and storage; not meant for passwords."""
    return hashlib.sha256(token.encode()).hexdigest()


def redact_url(url: str) -> str:
    """Return a URL without user, password, query and fragment, so that it can be shown."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return REDACTED
    user = f"{REDACTED}@" if parts.username or parts.password else ""
    if ":" in host:
        host = f"[{host}]"
    return urlunsplit((parts.scheme, f"{user}{host}{port}", parts.path, REDACTED if parts.query else "", ""))
