"""Where a file is delivered: a part of the commands that order it."""

from __future__ import annotations

import hashlib
from typing import Final, Literal

from pydantic import Field

from shared.messages.base import HexId, Record

DESTINATION_PURPOSE: Final = "destination"  # the Vault's purpose under which `url` and `options` are encrypted
MOST_DESTINATIONS: Final = 8
LONGEST_OPTIONS: Final = 24 << 10
DestinationType = Literal["library", "folder", "s3", "ftp", "sftp", "http", "videocloud"]


class DestinationSpec(Record):
    """One destination of a file, with the id of the export that delivers to it."""

    export: HexId = Field(description="export_id of the resource and the destination's position")
    type: DestinationType = "library"
    url: str = Field(
        "", max_length=4096, repr=False, description="Encrypted (Vault, DESTINATION_PURPOSE); empty where none is asked"
    )
    shown: str = Field("", max_length=2048, description="The URL without user, password and query")
    credential: str = Field("", max_length=128, description="Name of the account's stored credentials; empty: none")
    file_name: str = Field(
        max_length=255, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="Name in the library, and in a URL that ends with a slash",
    )  # fmt: skip
    options: str = Field(
        "", max_length=40_000, repr=False, description="Encrypted JSON object of the type's own options; empty: none"
    )


def export_id(resource: str, position: int) -> str:
    """Return the id of the export to a resource's destination at a position, from 0; the first has the resource's."""
    return resource if position == 0 else hashlib.sha256(f"{resource}/{position}".encode()).hexdigest()[:32]
