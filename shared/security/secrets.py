"""Secrets: the installation's key, encryption at rest, signatures, constant-time comparison, redaction."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from shared.errors import Permanent
from shared.runtime.settings import Settings
from shared.security.sealing import VERSION, SealingKey

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


def older_keys(settings: Settings) -> list[bytes]:
    """Return the keys of SECRET_KEYS_OLD: what they sealed still opens, and nothing new is sealed with them."""
    given = settings.secret_keys_old.get_secret_value().split(",")
    return [key.strip().encode() for key in given if key.strip()]


class Vault:
    """Encrypts and signs with keys derived from the installation's key, a separate one for each purpose.

    What older keys have sealed and signed is still taken, so that the installation's key can be changed.
    """

    def __init__(self, key: bytes, older: Iterable[bytes] = ()) -> None:
        self._key = SealingKey(key)
        older = tuple(older)
        self._keys = (self._key, *(SealingKey(old) for old in older if old != key))
        self.changes_key: Final = bool(older)
        """Whether older keys are named, so that what they sealed is to be sealed anew."""

    def encrypt(self, text: str, purpose: str) -> str:
        """Return the text encrypted for storage."""
        return self._key.seal(text, purpose)

    def decrypt(self, token: str, purpose: str) -> str:
        """Decrypt a result of `encrypt`; raise SecretUnreadable when key or purpose differ."""
        for key in self._keys:
            if (text := key.opened(token, purpose)) is not None:
                return text
        raise SecretUnreadable(f"a stored {purpose} does not open with this SECRET_KEY")

    def is_current(self, token: str) -> bool:
        """Return whether a result of `encrypt` was made with the present key and in the present form."""
        return token.startswith(f"{VERSION}.{self._key.ident}.")

    def derived(self, purpose: str) -> tuple[bytes, ...]:
        """Return 32 bytes for a purpose from which further keys derive: the present key's first, then older ones'."""
        return tuple(key.derived(purpose) for key in self._keys)

    def sign(self, text: str, purpose: str) -> str:
        """Return the HMAC-SHA256 of the text: 43 URL-safe characters."""
        return _signature(self._key, text, purpose)

    def fingerprint(self, text: str, purpose: str) -> str:
        """Return 16 hex digits that identify a secret; without the key, nobody can test guesses against them."""
        return hmac.digest(self._key.derived(purpose), text.encode(), "sha256").hex()[:16]

    def verify(self, text: str, signature: str, purpose: str) -> bool:
        """Return whether a signature is right, by the present key or an older one; compared in constant time."""
        given = signature.encode()
        return sum(hmac.compare_digest(_signature(key, text, purpose).encode(), given) for key in self._keys) > 0


def _signature(key: SealingKey, text: str, purpose: str) -> str:
    digest = hmac.digest(key.derived(purpose), text.encode(), "sha256")
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


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
