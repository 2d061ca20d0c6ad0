"""Keeping secrets: the installation's key, encryption at rest, signatures, constant-time comparison, redaction."""

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
    """A stored secret does not open with this installation's key."""


def write_private(path: Path, text: str) -> bool:
    """Write a file that only its owner reads, whole or not at all; False when it was there already. OSError."""
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
    """Read what `write_private` wrote; OSError, also when the file is empty, which no key ever was."""
    text = path.read_text().strip()
    if not text:
        raise OSError(f"{path} is empty; restore it, or remove it to have a new one made")
    return text


def installation_key(settings: Settings) -> bytes:
    """Return SECRET_KEY, or the key kept in DATA_DIR, which is made on first use. OSError."""
    if given := settings.secret_key.get_secret_value():
        return given.encode()
    path = settings.data_dir / KEY_FILE
    if not path.exists():
        write_private(path, secrets.token_urlsafe(48))
    return read_private(path).encode()


class Vault:
    """Encrypts and signs with keys derived from the installation's; one purpose cannot be used for another.

    There are few purposes, named in the code: what is derived for them is kept.
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
        """Encrypt for storage."""
        return self._cipher(purpose).encrypt(text.encode()).decode()

    def decrypt(self, token: str, purpose: str) -> str:
        """Open what `encrypt` made; SecretUnreadable when key or purpose is another."""
        try:
            return self._cipher(purpose).decrypt(token.encode()).decode()
        except InvalidToken as error:
            raise SecretUnreadable(f"a stored {purpose} does not open with this SECRET_KEY") from error

    def sign(self, text: str, purpose: str) -> str:
        """Sign with HMAC-SHA256: 43 URL-safe characters."""
        digest = hmac.digest(self._derive(purpose), text.encode(), "sha256")
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def fingerprint(self, text: str, purpose: str) -> str:
        """Return 16 hex digits by which a secret is known again; without the key, nobody can try secrets for them."""
        return hmac.digest(self._derive(purpose), text.encode(), "sha256").hex()[:16]

    def verify(self, text: str, signature: str, purpose: str) -> bool:
        """Compare a signature in constant time."""
        return hmac.compare_digest(self.sign(text, purpose).encode(), signature.encode())


def hash_token(token: str) -> str:
    """Hash a random token of full entropy for look-up and storage; not meant for passwords."""
    return hashlib.sha256(token.encode()).hexdigest()


def redact_url(url: str) -> str:
    """Take the password, query and fragment out of a URL, so that it can be shown."""
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
