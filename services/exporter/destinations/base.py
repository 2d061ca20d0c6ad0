"""The interface of destinations: how one file reaches one place of a user's, and what a delivery may rely on.

A destination is an object made for one delivery (`Maker`): it knows its URL, its credentials and the file's name. Its
coroutines run in the exporter's event loop; what blocks runs in threads. Adapters are named for what they write to.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from shared.messages.credentials import CredentialRecord


class SourceFile(Protocol):
    """The file that is delivered, read from the store as it is sent: never copied to this machine first."""

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    @property
    def sha256(self) -> str:
        """Lower-case hex; empty when it is not known before all was read."""
        ...

    @property
    def content_type(self) -> str:
        """The MIME type."""
        ...

    async def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`, fewer at the end; raise ObjectMissing, Unavailable."""
        ...

    def chunks(self, offset: int = 0) -> AsyncGenerator[bytes, None]:
        """Yield the bytes from `offset` on in pieces of up to 256 KiB; raise ObjectMissing, Unavailable."""
        ...


class Transfer(Protocol):
    """One delivery as its destination sees it. It survives the exporter: the next try is given the same `resume`."""

    resume: str
    """What `keep` was last given for this very file (export and accuracy), by this or an earlier try; else empty."""

    async def sent(self, total: int) -> None:
        """Tell that the destination has taken `total` bytes in all; call it at least every few MB.

        A put that tells nothing for a minute is stopped as stuck (a transient DestinationFailed).
        """
        ...

    async def keep(self, resume: str) -> None:
        """Store what a later try needs to go on from here: the adapter's own text, at most 4 KiB, no secrets."""
        ...


class Destination(Protocol):
    """One place of a user's where one file goes.

    Raises DestinationFailed with a message written for the user (what was tried, what the server said, no secret),
    `final` when another try cannot succeed. Any coroutine may be cancelled at any await: a later try resumes.
    """

    async def put(self, file: SourceFile, transfer: Transfer) -> str:
        """Deliver the file, over any file that is there, and return its location, without secrets.

        Its bytes go to a temporary name or an unfinished upload first, and take the final name at once where the
        protocol can; the final name never holds a part of a file. What arrived is checked: by size always, by checksum
        where the server tells one. Delivering the same file again is right and changes nothing. NotYet, with a note
        kept, while the server works on the file for long: it is put again then, and this is no failed try.
        """
        ...

    async def holds(self, file: SourceFile) -> bool:
        """Return whether the final name holds a file of this size now (and of this checksum, where it is told)."""
        ...

    async def discard(self, transfer: Transfer) -> None:
        """Remove what an unfinished put has left (temporary file, unfinished upload); never the final name."""
        ...

    async def test(self) -> None:
        """Check that the server is reached, the credentials are accepted and the place can be written to.

        Leaves nothing behind. DestinationFailed says what is wrong.
        """
        ...


@dataclass(frozen=True, slots=True)
class Order:
    """What a destination is made from: decrypted, so never logged."""

    account: str
    export: str
    accuracy: str
    file_name: str
    url: str
    credential: Credential | None
    options: Mapping[str, Any]

    def __repr__(self) -> str:
        """Return a text without secrets."""
        return f"Order({self.account}, {self.export}, {self.accuracy})"


@dataclass(frozen=True, slots=True)
class Credential:
    """Stored credentials in clear, for one delivery: `private` is the secret; `session_token` and `url` are opened."""

    record: CredentialRecord
    private: str

    def __repr__(self) -> str:
        """Return a text without the secret."""
        return f"Credential({self.record.name})"


class Maker(Protocol):
    """What makes a type's destination for one order; DestinationFailed (final) when the order cannot be read."""

    def __call__(self, order: Order) -> Destination:
        """Return the destination."""
        ...
