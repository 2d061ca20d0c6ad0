"""The URL at which clients reach the gateway."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(slots=True)
class PublicUrl:
    """The gateway's public URL without a slash at its end; known once the port is bound."""

    base: str

    @property
    def host(self) -> str:
        """Its host; empty when it has none."""
        return urlsplit(self.base).hostname or ""
