"""Stored credentials of users' sources, destinations and receivers: bucket `credentials`, written by the gateway."""

from __future__ import annotations

import hashlib
from typing import Final, Literal
from urllib.parse import urlsplit

from pydantic import Field

from shared.messages.base import AccountId, HexId, Millis, Record

CredentialType = Literal["ftp", "http", "oauth", "rtmp", "s3", "sftp", "videocloud"]
Tls = Literal["", "explicit", "implicit", "unverified", "implicit-unverified"]
CREDENTIAL_PURPOSE: Final = "credential"  # the Vault's purpose under which `secret` is encrypted


class CredentialRecord(Record):
    """Credentials that an account stored, under `credential_key(account, name)`. The secret is never returned again.

    What `public` and `private` are: s3 access key and secret key; ftp, sftp, http, rtmp user and password (sftp: or a
    private key in PEM); videocloud and oauth client id and client secret.
    """

    account: AccountId
    credential: HexId = Field(description="credential_id of the name that it was made under")
    name: str = Field(min_length=1, max_length=128, description="Its owner's name for it, unique in the account")
    type: CredentialType = "s3"
    public: str = Field("", max_length=1024)
    secret: str = Field("", max_length=24_000, repr=False, description="Encrypted (Vault, CREDENTIAL_PURPOSE)")
    masked: str = Field("", max_length=16, description="The secret's last two characters after asterisks")
    default_for_type: bool = Field(default=False, description="Used where a URL of this type names none")
    endpoint: str = Field("", max_length=2048, description="s3: http(s) URL of a server other than AWS")
    region: str = Field("us-east-1", max_length=64, description="s3")
    path_style: bool | None = Field(None, description="s3: bucket in the path; none: where an endpoint is named")
    session_token: str = Field("", max_length=8192, repr=False, description="s3: encrypted like the secret; or empty")
    host_key: str = Field(
        "", max_length=8192, description="sftp: the server's public key, or its SHA256:... fingerprint"
    )
    tls: Tls = Field(
        "",
        description="ftp: how the connection is encrypted (empty: as the URL says), and that any certificate is taken",
    )
    host: str = Field(
        "", max_length=253, description="ftp, http, oauth, sftp: the only host that they are sent to; empty: any"
    )
    account_id: str = Field("", max_length=64, description="videocloud: the account that clips go to by default")
    url: str = Field("", max_length=4096, repr=False, description="oauth: the token URL, sealed; else empty")
    created_ms: Millis
    changed_ms: Millis


def is_for(record: CredentialRecord, url: str) -> bool:
    """Return whether credentials may be sent to a URL's host."""
    return not record.host or urlsplit(url).hostname == record.host


def is_default_for(record: CredentialRecord, url: str) -> bool:
    """Return whether credentials are used for a URL of their type that names none.

    Those of http only at the host that they name, and never beside a query: such a URL is signed, or holds its token.
    """
    if record.type == "http" and (not record.host or urlsplit(url).query):
        return False
    return record.default_for_type and is_for(record, url)


def credential_id(name: str) -> str:
    """Return the id of credentials that are made under a name."""
    return hashlib.sha256(name.encode()).hexdigest()[:32]


def credential_key(account: str, name: str) -> str:
    """Return the bucket's key of credentials that an account made under a name."""
    return f"{account}.{credential_id(name)}"
