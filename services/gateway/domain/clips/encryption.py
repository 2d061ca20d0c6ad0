"""Keys for the files of clips: sealed at the door, and opened by the clipper alone."""

from __future__ import annotations

from dataclasses import dataclass, field

from shared.messages.clips import ENCRYPTION_PURPOSE, ClipEncryption
from shared.security.secrets import Vault


@dataclass(frozen=True, slots=True)
class NewEncryption:
    """A key for the files of a clip, and its id: 32 hex digits each."""

    kid: str
    key: str = field(repr=False)

    def sealed(self, vault: Vault) -> ClipEncryption:
        """Return it as it is sent and stored."""
        return ClipEncryption(kid=self.kid, key=vault.encrypt(self.key, ENCRYPTION_PURPOSE))
