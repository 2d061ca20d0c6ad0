"""The keys of encrypted recordings: derived from the installation's key, and kept nowhere (ADR 34).

An event's key comes from the installation's by HKDF (RFC 5869); from it the keys of its sessions' tracks, and their
ids, by which a reader knows the installation's key that made them.
"""

from __future__ import annotations

import hmac
import threading
from collections.abc import Callable
from typing import Final

from cachetools import LRUCache
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from shared.errors import Rejected
from shared.media.cenc.key import KEY_SIZE, KID_SIZE, ContentKey
from shared.security.secrets import Vault

PURPOSE: Final = "content"
_MOST: Final = 4096


class KeyUnknown(Rejected):
    """A recording was encrypted under another installation's key."""


class ContentKeys:
    """Returns the key of a folder of a recording, `live/<event>/<session>/<track>`. Threads may share it."""

    def __init__(self, vault: Vault) -> None:
        self._masters = vault.derived(PURPOSE)
        self._known: LRUCache[tuple[str, bytes], ContentKey] = LRUCache(_MOST)
        self._lock = threading.Lock()

    def fresh(self, folder: str) -> ContentKey:
        """Return the key for a new folder."""
        return _derived(self._masters[0], folder)

    def find(self, folder: str, kid: bytes) -> ContentKey:
        """Return the key that encrypted a folder's segments; KeyUnknown when no key of this installation gives it."""
        with self._lock:
            known = self._known.get((folder, kid))
        if known is not None:
            return known
        for master in self._masters:
            key = _derived(master, folder)
            if hmac.compare_digest(key.kid, kid):
                with self._lock:
                    self._known[folder, kid] = key
                return key
        raise KeyUnknown(
            "the recording is encrypted under another SECRET_KEY than this one and those of SECRET_KEYS_OLD"
        )


KeyFor = Callable[[str, bytes], ContentKey]
"""Returns a folder's key by its id, as `ContentKeys.find`."""


def folder_of(key: str) -> str:
    """Return the folder of a segment's key in the store."""
    return key.rpartition("/")[0]


def _derived(master: bytes, folder: str) -> ContentKey:
    event = folder.split("/")[1]
    of_event = HKDF(SHA256(), 32, None, f"event {event}".encode()).derive(master)

    def expanded(use: str, size: int) -> bytes:
        return HKDFExpand(SHA256(), size, f"{use} {folder}".encode()).derive(of_event)

    return ContentKey(expanded("kid", KID_SIZE), expanded("key", KEY_SIZE))
