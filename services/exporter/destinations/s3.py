"""Buckets of Amazon S3 and of servers that speak its protocol."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from secrets import token_hex
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from services.exporter.destinations.base import Order, SourceFile, Transfer
from services.exporter.destinations.s3_client import Access, S3Clients, S3Link
from services.exporter.destinations.s3_errors import S3Fault
from services.exporter.destinations.s3_object import Note, S3Object
from services.exporter.destinations.s3_upload import SHA, S3Upload, abort, begin
from shared.errors import DestinationFailed, Rejected
from shared.security.netguard.addresses import Networks
from shared.security.netguard.urls import check_url

LONGEST_KEY: Final = 1024
CLEAR_S: Final = 3.0
"""How long a test that fails, or takes too long, may take besides to drop its upload."""
# Our options, and boto3's names for them.
_OPTIONS: Final = {
    "storage_class": "StorageClass",
    "acl": "ACL",
    "sse": "ServerSideEncryption",
    "kms_key_id": "SSEKMSKeyId",
    "cache_control": "CacheControl",
    "content_disposition": "ContentDisposition",
}
_NO_MULTIPART: Final = frozenset({"NotImplemented", "MethodNotAllowed", "501", "405"})


@dataclass(frozen=True, slots=True)
class S3Maker:
    """Makes the destinations of `s3://bucket/key`."""

    clients: S3Clients

    @classmethod
    def of(cls, allowed: Networks, tls: ssl.SSLContext) -> S3Maker:
        """Return a maker whose connections go to checked addresses and trust what `tls` trusts."""
        return cls(S3Clients(allowed, tls))

    def __call__(self, order: Order) -> S3Destination:
        """Return the destination; DestinationFailed (final) when the order cannot be read."""
        parts = urlsplit(order.url)
        key = unquote(parts.path).lstrip("/")
        key = key + order.file_name if not key or key.endswith("/") else key
        bucket = parts.hostname and parts.netloc.rpartition("@")[2]
        if parts.scheme != "s3" or not bucket or ":" in bucket:
            raise DestinationFailed("the URL must be s3://bucket/key", final=True)
        if len(key.encode()) > LONGEST_KEY:
            raise DestinationFailed(f"s3://{bucket}: the key has more than {LONGEST_KEY} bytes", final=True)
        access = _access(order, self.clients.allowed)
        return S3Destination(self.clients, access, bucket, key, _written_with(order.options))


@dataclass(frozen=True, slots=True)
class S3Destination:
    """One key of one bucket."""

    clients: S3Clients
    access: Access
    bucket: str
    key: str
    written_with: Mapping[str, Any]

    @property
    def _where(self) -> str:
        return f"s3://{self.bucket}"

    def _link(self) -> S3Link:
        return self.clients.link(self.access, self._where)

    def _object(self, file: SourceFile) -> S3Object:
        given = dict(self.written_with)
        own = {SHA: file.sha256} if file.sha256 else {}
        return S3Object(
            self.bucket, self.key,
            {**given, "ContentType": given.get("ContentType") or file.content_type,
             "Metadata": {**given.get("Metadata", {}), **own}},
        )  # fmt: skip

    def _upload(self, link: S3Link, file: SourceFile) -> S3Upload:
        return S3Upload(link, self._object(file), file, self._where)

    async def put(self, file: SourceFile, transfer: Transfer) -> str:
        """Deliver the file: an object is replaced at once, when all of the new one is there."""
        async with self._link() as link:
            await self._upload(link, file).put(transfer)
        return f"s3://{self.bucket}/{self.key}"

    async def holds(self, file: SourceFile) -> bool:
        """Return whether the key holds a file of this size and, where the server tells it, this checksum."""
        async with self._link() as link:
            return await self._upload(link, file).is_there()

    async def discard(self, transfer: Transfer) -> None:
        """Drop an unfinished upload."""
        note = Note.read(transfer.resume)
        if note is not None:
            async with self._link() as link:
                await abort(link, self.bucket, note)

    async def test(self) -> None:
        """Begin an upload with one part, and drop it: nothing is ever visible, and no right to delete is needed."""
        named = {"Bucket": self.bucket, "Key": f"{self.key.rpartition('/')[0]}/.reelay-test-{token_hex(4)}".lstrip("/")}
        given = {name: value for name, value in self.written_with.items() if name != "Metadata"}
        async with self._link() as link:
            try:
                upload = await begin(link, self._where, **named, **given)
            except S3Fault as fault:
                if fault.code not in _NO_MULTIPART:
                    raise
                await link.call("put_object", **named, **given, Body=b"test")
                await link.call("delete_object", **named)
                return
            try:
                await link.call("upload_part", **named, UploadId=upload, PartNumber=1, Body=b"test")
            except BaseException:
                with contextlib.suppress(S3Fault, TimeoutError):
                    async with asyncio.timeout(CLEAR_S):
                        await link.call("abort_multipart_upload", **named, UploadId=upload)
                raise
            await link.call("abort_multipart_upload", **named, UploadId=upload)


def _access(order: Order, allowed: Networks) -> Access:
    parts = urlsplit(order.url)
    if parts.username and parts.password:
        user, password = unquote(parts.username), unquote(parts.password)
        record = order.credential.record if order.credential else None
        token = ""
    elif order.credential is not None:
        record, password = order.credential.record, order.credential.private
        user, token = record.public, record.session_token
    else:
        raise DestinationFailed("s3: there are no credentials: name stored ones, or store a default", final=True)
    endpoint = record.endpoint if record else ""
    if endpoint:
        try:
            endpoint = check_url(endpoint, schemes=("http", "https"), allowed=allowed).url
        except Rejected as error:
            raise DestinationFailed(f"s3: the endpoint of the credentials: {error}", final=True) from None
    return Access(
        user, password, token, (record.region if record else "") or "us-east-1", endpoint,
        record.path_style if record else None,
    )  # fmt: skip


def _written_with(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return boto3's arguments for a destination's options."""
    found: dict[str, Any] = {_OPTIONS[name]: value for name, value in options.items() if name in _OPTIONS and value}
    if options.get("content_type"):
        found["ContentType"] = options["content_type"]
    if isinstance(metadata := options.get("metadata"), dict):
        found["Metadata"] = {str(name): str(value) for name, value in metadata.items()}
    return found
