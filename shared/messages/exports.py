"""Messages about delivering files to destinations."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from shared.messages.base import Accuracy, HexId, Message, Millis, Record, Sha256, StoreKey
from shared.messages.destinations import DestinationSpec


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
    sha256: Sha256 | None = None
    content_type: str = Field("video/mp4", max_length=64)
    destination: DestinationSpec

    @property
    def dedup_id(self) -> str:
        """Return one id per export and accuracy."""
        return f"export-{self.export}-{self.accuracy}"


class ExportAbort(Message):
    """Stop an export: what is being sent is dropped, what was delivered stays."""

    channel: ClassVar[str] = "exports.abort"

    export: HexId
    clip: HexId
    at_ms: Millis

    @property
    def subject_id(self) -> str:
        """Return the export's id."""
        return self.export

    @property
    def dedup_id(self) -> str:
        """Return one id per request."""
        return f"export-abort-{self.export}-{self.at_ms}"


class CredentialTest(Message):
    """Try stored credentials at a destination, without delivering anything; the result goes to `credential_tests`."""

    channel: ClassVar[str] = "exports.test"

    test: HexId
    destination: DestinationSpec
    at_ms: Millis

    @property
    def subject_id(self) -> str:
        """Return the test's id."""
        return self.test

    @property
    def dedup_id(self) -> str:
        """Return one id per test."""
        return f"export-test-{self.test}"


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


class ExportStarted(ExportMessage):
    """The first bytes of a file are on their way to its destination."""

    channel: ClassVar[str] = "exports.started"

    bytes: int = Field(ge=0)
    at_ms: Millis

    @property
    def dedup_id(self) -> str:
        """Return one id per export and accuracy."""
        return f"export-started-{self.export}-{self.accuracy}"


class ExportProgressed(ExportMessage):
    """A destination has taken more of a file; told every few seconds at most."""

    channel: ClassVar[str] = "exports.progressed"

    sent: int = Field(ge=0, description="Bytes that the destination has taken")
    bytes: int = Field(ge=0)
    at_ms: Millis

    @property
    def dedup_id(self) -> str:
        """Return one id per number of bytes."""
        return f"export-progressed-{self.export}-{self.accuracy}-{self.sent}"


class ExportAborted(ExportMessage):
    """An export was stopped before its file was at its destination."""

    channel: ClassVar[str] = "exports.aborted"

    at_ms: Millis

    @property
    def dedup_id(self) -> str:
        """Return one id per export and accuracy."""
        return f"export-aborted-{self.export}-{self.accuracy}"


class ExportRecord(Record):
    """The state of an export, in the bucket `exports` under `<account>.<export>`; written by the exporter alone."""

    account: str
    export: HexId
    clip: HexId
    state: Literal["delivering", "delivered", "failed", "aborted"]
    accuracy: Accuracy
    location: str = ""
    error: str = ""
    source_key: str = Field("", description="What is, or is to be, at its destination")
    bytes: int = Field(0, ge=0)
    sent: int = Field(0, ge=0, description="Bytes that the destination has taken, as of the last time it was told")
    resume: str = Field("", max_length=4096, description="The adapter's own note for the next try of this accuracy")
    left: str = Field("", max_length=4096, description="The note of a less exact file that this one overtook")
    overtakes: bool = Field(False, description="Whether a less exact file was on its way when this one began")
    changed_ms: Millis


class CredentialTestRecord(Record):
    """What a test of credentials came to, in `credential_tests` under `<account>.<test>`; written by the exporter."""

    account: str
    test: HexId
    worked: bool
    error: str = Field("", max_length=1024)
    at_ms: Millis
