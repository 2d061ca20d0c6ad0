"""Records of API keys and of encoders' stream keys; the gateway's."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from shared.messages.base import AccountId, HexId, Millis, Record

Dialect = Literal["native", "brightcove"]
Scope = Literal[
    "admin", "jobs:read", "jobs:write", "vods:read", "vods:write", "restreams:read", "restreams:write", "credentials",
    "webhooks", "playback",
]  # fmt: skip


BROADCAST_PURPOSE: Final = "broadcast-token"


def broadcast_key(entry: str) -> str:
    """Return the text whose hash names the ingest key of a live entry; no stream key is like it."""
    return f"entry:{entry}"


class IngestKey(Record):
    """Finds a job by its stream key: bucket `keys`, under `ingest.<sha256 of the key>`; the gateway's.

    A live entry (`broadcast_key`) is found without its stream key; the token is then the secret.
    """

    account: AccountId
    event: HexId
    owner: str = Field(
        "", max_length=32, description="Whom an address that names an owner must name; empty: no live entry"
    )
    token: str = Field("", max_length=512, description="Of a live entry: what its encoder has to know, encrypted")


class ApiKeyRecord(Record):
    """An API key: bucket `keys`, under `api.<sha256 of the key>`; the gateway's."""

    account: AccountId
    key_id: HexId
    scopes: tuple[Scope, ...]
    label: str = Field("", max_length=128)
    created_ms: Millis
    expires_ms: Millis | None = None
    revoked: bool = False
    revoked_ms: Millis | None = None
    dialect: Dialect = Field("native", description="The API whose shapes its calls are answered in")
    kept: bool = Field(False, description="Its text is kept elsewhere: the record stays, so that it is not made anew")
