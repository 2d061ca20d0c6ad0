"""Stored credentials of users' own destinations: bucket `credentials`, written by the gateway alone."""

from __future__ import annotations

import hashlib
from typing import Final, Literal

from pydantic import Field

from shared.messages.base import AccountId, HexId, Millis, Record

CREDENTIAL_PURPOSE: Final = "credential"  # the Vault's purpose under which `secret` is encrypted


class CredentialRecord(Record):
    """The credentials of a user's bucket, under `credential_key(account, name)`. The secret is never returned again."""

    account: AccountId
    credential: HexId = Field(description="credential_id(name)")
    name: str = Field(min_length=1, max_length=128, description="Its owner's name for it, unique in the account")
    type: Literal["s3"] = "s3"
    endpoint: str = Field("", max_length=2048, description="http(s) URL of an S3 server other than AWS")
    region: str = Field("us-east-1", max_length=64)
    access_key: str = Field(max_length=256)
    secret: str = Field(max_length=2048, repr=False, description="Encrypted (Vault, CREDENTIAL_PURPOSE)")
    created_ms: Millis
    changed_ms: Millis


def credential_id(name: str) -> str:
    """Return the id of the credentials that an account keeps under a name."""
    return hashlib.sha256(name.encode()).hexdigest()[:32]


def credential_key(account: str, name: str) -> str:
    """Return the bucket's key of an account's credentials."""
    return f"{account}.{credential_id(name)}"
