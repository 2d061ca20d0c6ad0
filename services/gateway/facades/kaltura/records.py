"""Records of media servers: which of them have reported, and which entries they serve."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Final

from pydantic import Field

from shared.messages.base import AccountId, Millis, Record

EXPIRES: Final = timedelta(seconds=120)
"""A registration is repeated every 60 s: after two that were missed it is over."""
STOPPED, PLAYABLE, BROADCASTING, AUTHENTICATED = 0, 1, 2, 3
INDEXES: Final = ("0", "1")
"""Primary and backup."""


class Registration(Record):
    """A server that serves an entry: bucket `media_servers`, under `entry.<account>.<entry>.<index>`."""

    account: AccountId
    entry: str = Field(max_length=16)
    index: str = Field(max_length=1)
    host: str = Field(max_length=256)
    owner: int = Field(description="The partner that reported the host")
    application: str = Field("", max_length=256)
    status: int = PLAYABLE
    since_ms: Millis
    at_ms: Millis

    @property
    def id(self) -> int:
        """Its number: it fits the 31 bits that clients have for it."""
        return _number(f"{self.entry}.{self.index}")

    def holds(self, now_ms: int) -> bool:
        """Return whether it was repeated lately."""
        return now_ms - self.at_ms < EXPIRES // timedelta(milliseconds=1)


class ServerNode(Record):
    """A host that has reported: bucket `media_servers`, under `host.<partner>.<sha256 of it>`."""

    partner: int
    host: str = Field(max_length=256)
    kind: str = Field("KalturaWowzaMediaServerNode", max_length=64, description="objectType")
    status: int = 1
    texts: dict[str, str] = Field(default_factory=dict, description="Further fields, as they came")
    configs: dict[str, tuple[tuple[str, str], ...]] = Field(default_factory=dict, description="Keys and values")
    created_ms: Millis
    changed_ms: Millis
    heartbeat_ms: Millis

    @property
    def id(self) -> int:
        """Its number."""
        return node_number(self.partner, self.host)


def node_number(partner: int, host: str) -> int:
    """Return the number of a host."""
    return _number(f"{partner}.{host}")


def _number(text: str) -> int:
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) >> 1 or 1
