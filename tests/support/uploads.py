"""What a destination is given for one delivery: a file of the store, a transfer that remembers, an order."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from services.exporter.destinations.base import Credential, Order
from shared.messages.credentials import CredentialRecord, credential_id
from shared.messages.destinations import export_id

ALLOWED = (ip_network("127.0.0.0/8"),)
CLIP = "0123456789abcdef0123456789abcdef"
PIECE = 256 << 10


@dataclass
class MemoryFile:
    """A file of the store; `read_from` tells where reading began each time, `each` is called before each piece."""

    data: bytes
    sha256: str = ""
    content_type: str = "video/mp4"
    read_from: list[int] = field(default_factory=list)
    each: Callable[[int], Awaitable[None]] | None = None

    @property
    def size(self) -> int:
        return len(self.data)

    @classmethod
    def known(cls, data: bytes, **more: Any) -> MemoryFile:
        return cls(data, hashlib.sha256(data).hexdigest(), **more)

    async def read(self, offset: int, length: int) -> bytes:
        return self.data[offset : offset + length]

    async def chunks(self, offset: int = 0) -> AsyncIterator[bytes]:
        self.read_from.append(offset)
        for at in range(offset, len(self.data), PIECE):
            if self.each is not None:
                await self.each(at)
            yield self.data[at : at + PIECE]


@dataclass
class Told:
    """A transfer: what was told, and the note for the next try."""

    resume: str = ""
    totals: list[int] = field(default_factory=list)

    async def sent(self, total: int) -> None:
        self.totals.append(total)

    async def keep(self, resume: str) -> None:
        assert len(resume) <= 4096
        self.resume = resume


def order(
    url: str,
    user: str = "",
    password: str = "",
    *,
    kind: str = "ftp",
    accuracy: str = "exact",
    position: int = 0,
    **record: Any,
) -> Order:
    """Return an order to put a file at a URL."""
    now = int(datetime.now(UTC).timestamp() * 1000)
    stored = CredentialRecord.model_validate({
        "account": "main", "credential": credential_id("site"), "name": "site", "type": kind, "public": user,
        "created_ms": now, "changed_ms": now, **record,
    })  # fmt: skip
    return Order(
        account="main", export=export_id(CLIP, position), accuracy=accuracy, file_name="clip.mp4", url=url,
        credential=Credential(stored, password) if user or record else None, options={},
    )  # fmt: skip


def make_certificate(folder: Path, name: str = "localhost") -> tuple[Path, Path]:
    """Write a key and a self-signed certificate for a name and this machine's addresses; return their paths."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    names: list[x509.GeneralName] = [x509.DNSName(name)]
    if name == "localhost":
        names += [x509.IPAddress(ip_address(f"127.0.0.{last}")) for last in (1, 2)]
    cert = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / "key.pem", folder / "cert.pem"
    plain = serialization.NoEncryption()
    paths[0].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, plain)
    )
    paths[1].write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    paths[0].chmod(0o600)
    return paths
