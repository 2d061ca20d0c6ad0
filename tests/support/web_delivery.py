"""A file to deliver, what a delivery keeps of it, and orders, for tests of destinations."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from services.exporter.destinations.base import Credential, Order
from shared.messages.credentials import CredentialRecord, CredentialType, credential_id

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
PIECE = 1 << 18
MIB = 1 << 20


def noise(size: int, seed: int = 0) -> bytes:
    """Return bytes that no two files share."""
    block = hashlib.shake_256(seed.to_bytes(8, "big")).digest(MIB)
    return b"".join(number.to_bytes(8, "big") + block[8:] for number in range(-(-size // MIB)))[-size:] if size else b""


@dataclass
class MemoryFile:
    """A SourceFile; counts what is read of it."""

    data: bytes
    content_type: str = "video/mp4"
    known: bool = True
    read_bytes: int = 0

    @property
    def size(self) -> int:
        return len(self.data)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest() if self.known else ""

    async def read(self, offset: int, length: int) -> bytes:
        found = self.data[offset : offset + length]
        self.read_bytes += len(found)
        return found

    async def chunks(self, offset: int = 0) -> AsyncIterator[bytes]:
        for at in range(offset, len(self.data), PIECE):
            yield await self.read(at, PIECE)


@dataclass
class Kept:
    """A Transfer that remembers everything."""

    resume: str = ""
    totals: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    on_sent: Callable[[int], None] = lambda _total: None
    on_keep: Callable[[str], None] = lambda _note: None

    async def sent(self, total: int) -> None:
        self.totals.append(total)
        self.on_sent(total)

    async def keep(self, resume: str) -> None:
        assert len(resume.encode()) <= 4096
        self.resume = resume
        self.notes.append(resume)
        self.on_keep(resume)


def credential(kind: CredentialType, public: str = "", private: str = "", **more: Any) -> Credential:
    """Return stored credentials, opened."""
    record = CredentialRecord(
        account="main", credential=credential_id("mine"), name="mine", type=kind, public=public, created_ms=0,
        changed_ms=0, **more,
    )  # fmt: skip
    return Credential(record, private)


def order(
    url: str, given: Credential | None = None, *, accuracy: str = "segment", export: str = "e" * 32, **options: Any
) -> Order:
    """Return an order to deliver to a URL."""
    return Order(
        account="main", export=export, accuracy=accuracy, file_name="clip.mp4", url=url, credential=given,
        options=options,
    )  # fmt: skip
