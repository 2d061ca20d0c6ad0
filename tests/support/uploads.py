"""What a destination is given for one delivery: a file, a transfer that remembers, an order with credentials."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable
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
from shared.messages.credentials import CredentialRecord, CredentialType, credential_id
from shared.messages.destinations import export_id

ALLOWED = (ip_network("127.0.0.0/8"),)
LOOPBACK = (*ALLOWED, ip_network("::1/128"))
CLIP = "0123456789abcdef0123456789abcdef"
PIECE = 1 << 18
MIB = 1 << 20


def noise(size: int, seed: int = 0) -> bytes:
    """Return bytes that no two files share."""
    block = hashlib.shake_256(seed.to_bytes(8, "big")).digest(MIB)
    return b"".join(number.to_bytes(8, "big") + block[8:] for number in range(-(-size // MIB)))[-size:] if size else b""


@dataclass
class MemoryFile:
    """A SourceFile that tells what was read of it; `known`: its sha256 is; `each` is called before each piece."""

    data: bytes
    content_type: str = "video/mp4"
    known: bool = True
    read_bytes: int = 0
    read_from: list[int] = field(default_factory=list)
    each: Callable[[int], Awaitable[None]] | None = None

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

    async def chunks(self, offset: int = 0) -> AsyncGenerator[bytes, None]:
        self.read_from.append(offset)
        for at in range(offset, len(self.data), PIECE):
            if self.each is not None:
                await self.each(at)
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


def login_order(
    url: str,
    user: str = "",
    password: str = "",
    *,
    kind: CredentialType = "ftp",
    accuracy: str = "exact",
    position: int = 0,
    **record: Any,
) -> Order:
    """Return an order to deliver to one of a clip's URLs with a user and password, if any."""
    given = credential(kind, user, password, **record) if user or record else None
    return order(url, given, accuracy=accuracy, export=export_id(CLIP, position))


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
