"""Objects in users' buckets: boto3 signs a URL for each request, and the guarded HTTP client reads it by ranges.

So a bucket's endpoint is checked at each connection, like every other host.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import timedelta
from threading import Event
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from services.restreamer.model import SourceError
from services.restreamer.sources.access import Access
from shared.messages.credentials import CREDENTIAL_PURPOSE
from shared.security.secrets import SecretUnreadable

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

LASTS: Final = timedelta(hours=1)
SCHEME: Final = "s3"


def split_location(location: str) -> tuple[str, str]:
    """Return bucket and key of s3://bucket/key; raise SourceError."""
    try:
        parts = urlsplit(location)
    except ValueError:
        raise SourceError("an S3 source is written s3://bucket/key") from None
    key = parts.path.removeprefix("/") + (f"?{parts.query}" if parts.query else "")
    if parts.scheme != SCHEME or not parts.hostname or not key:
        raise SourceError("an S3 source is written s3://bucket/key")
    return parts.netloc, key


def signer(access: Access, name: str, stop: Event) -> Callable[[str, str], str]:
    """Return a function that makes URLs of buckets and keys, signed with the named credentials; unsigned without."""
    client = _client(access, name, stop)

    def sign(bucket: str, key: str) -> str:
        try:
            params, lasts = {"Bucket": bucket, "Key": key}, LASTS // timedelta(seconds=1)
            return str(client.generate_presigned_url("get_object", Params=params, ExpiresIn=lasts))
        except (BotoCoreError, ValueError) as error:
            raise SourceError("the bucket or its key cannot be used") from error

    return sign


def _client(access: Access, name: str, stop: Event) -> S3Client:
    if not name:
        return _make("", "us-east-1", None, path_style=None)
    record = access.credentials(name, stop)
    try:
        secret, token = (
            access.vault.decrypt(sealed, CREDENTIAL_PURPOSE) if sealed else ""
            for sealed in (record.secret, record.session_token)
        )
    except SecretUnreadable as error:
        raise SourceError("the credentials named for this source cannot be opened with this SECRET_KEY") from error
    if record.type != SCHEME:
        raise SourceError(f"the credentials named for this source are of type {record.type}, not s3")
    return _make(record.endpoint, record.region, (record.public, secret, token), path_style=record.path_style)


@functools.lru_cache(maxsize=32)
def _make(endpoint: str, region: str, keys: tuple[str, str, str] | None, *, path_style: bool | None) -> S3Client:
    """Return a client, which only signs; making one takes 0.1 s, so the last ones are cached."""
    by_path = bool(endpoint) if path_style is None else path_style
    config = Config(
        signature_version="s3v4" if keys else UNSIGNED,
        s3={"addressing_style": "path" if by_path else "auto" if path_style is None else "virtual"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    try:
        return boto3.Session().client(  # a separate session: threads cannot share one while it makes clients
            "s3",
            endpoint_url=endpoint or None,
            region_name=region,
            aws_access_key_id=keys[0] if keys else None,
            aws_secret_access_key=keys[1] if keys else None,
            aws_session_token=(keys[2] or None) if keys else None,
            config=config,
        )
    except (BotoCoreError, ValueError) as error:
        raise SourceError("the credentials' endpoint or region cannot be used") from error
