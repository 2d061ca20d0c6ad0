"""Messages about delivering files to destinations."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from shared.messages.base import HexId, Message, Millis, Record, StoreKey
from shared.messages.clips import Accuracy


class ExportMessage(Message):
    """About one export: one file of one clip to one destination."""

    export: HexId
    clip: HexId
    accuracy: Accuracy

    @property
    def subject_id(self) -> str:
        """Return the export's id."""
        return self.export


class ExportDeliver(ExportMessage):
    """Put a file at its destination, replacing a less exact file of the same export."""

    channel: ClassVar[str] = "exports.deliver"

    source_key: StoreKey
    bytes: int = Field(ge=0)
    destination: Literal["library"] = "library"
    file_name: str = Field(max_length=255, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")

    @property
    def dedup_id(self) -> str:
        """Return one id per export and accuracy."""
        return f"export-{self.export}-{self.accuracy}"


class LibraryDelete(Message):
    """Delete a file of the library."""

    channel: ClassVar[str] = "library.delete"

    file: HexId = Field(description="The first 32 digits of the SHA-256 of the name")
    file_name: str = Field(max_length=255, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    at_ms: Millis
    version: str = Field("", max_length=255, description="What names the file's bytes; empty: whatever is there goes")
    modified_ms: Millis = Field(0, description="When the file that is to go was written")

    @property
    def subject_id(self) -> str:
        """Return the file's id."""
        return self.file

    @property
    def dedup_id(self) -> str:
        """Return one id per request."""
        return f"library-delete-{self.account}-{self.file}-{self.at_ms}"


class ExportDelivered(ExportMessage):
    """The file is at its destination."""

    channel: ClassVar[str] = "exports.delivered"

    location: str = Field(max_length=2048)
    bytes: int = Field(ge=0)
    at_ms: Millis

    @property
    def dedup_id(self) -> str:
        """Return one id per export and accuracy."""
        return f"export-delivered-{self.export}-{self.accuracy}"


class ExportFailed(ExportMessage):
    """The file could not be put at its destination, and there will be no further attempt."""

    channel: ClassVar[str] = "exports.failed"

    error: str = Field(max_length=1024)
    at_ms: Millis

    @property
    def dedup_id(self) -> str:
        """Return one id per export and accuracy."""
        return f"export-failed-{self.export}-{self.accuracy}"


class ExportRecord(Record):
    """The state of an export, in the bucket `exports` under `<account>.<export>`; written by the exporter alone."""

    account: str
    export: HexId
    clip: HexId
    state: Literal["delivering", "delivered", "failed"]
    accuracy: Accuracy
    location: str = ""
    error: str = ""
    source_key: str = Field("", description="What is, or is to be, at its destination")
    changed_ms: Millis
