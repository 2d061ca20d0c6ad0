"""Bodies of answers about the library."""

from __future__ import annotations

from pydantic import BaseModel, Field


class LibraryFile(BaseModel):
    """A file of the library."""

    name: str
    bytes: int
    modified_at: int = Field(description="ms since the epoch")
    url: str


class LibraryList(BaseModel):
    """A page of the library, by name."""

    files: list[LibraryFile]
    next_token: str | None = Field(None, description="start_token of the next page; null on the last one")
