"""Media in an S3 bucket. boto3 finds the credentials (AWS_* variables, profile, instance role)."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import boto3
from boto3.exceptions import S3UploadFailedError
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from shared.errors import Permanent, Unavailable
from shared.store.base import MediaStore, ObjectInfo, ObjectMissing, StoreFull, check_key
from shared.store.scratch import Scratch

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CopySourceTypeDef

MISSING: Final = frozenset({"404", "NoSuchKey", "NotFound", "412", "PreconditionFailed", "ConditionalRequestConflict"})
UNKNOWN: Final = frozenset({"501", "NotImplemented"})  # the server does not support a condition
FULL: Final = frozenset({"QuotaExceeded", "InsufficientCapacity", "XMinioStorageFull", "507"})
PAST_END: Final = frozenset({"416", "InvalidRange"})
DENIED: Final = frozenset({"403", "AccessDenied"})
NO_BUCKET: Final = frozenset({"404", "NoSuchBucket"})
AT_HOME: Final = frozenset({None, "", "us-east-1", "aws-global"})  # these take no LocationConstraint
READY: Final = "ready"
CONNECT: Final = {False: timedelta(seconds=5), True: timedelta(seconds=2)}
"""How long to wait for a connection, and when hurried."""
READ: Final = {False: timedelta(seconds=30), True: timedelta(seconds=3)}
WORDS: Final = {
    "NoSuchBucket": "there is no such bucket",
    "AccessDenied": "it denies access",
    "403": "it denies access",
    "InvalidAccessKeyId": "it does not know the access key",
    "SignatureDoesNotMatch": "the secret key is wrong",
    "EndpointConnectionError": "nothing answers at its endpoint",
    "ConnectTimeoutError": "nothing answers at its endpoint",
    "ReadTimeoutError": "it does not answer in time",
    "NoCredentialsError": "there are no credentials for it",
}
TRANSFER: Final = TransferConfig(multipart_threshold=32 << 20, multipart_chunksize=16 << 20, max_concurrency=4)


class S3Store(MediaStore):
    """A bucket, or the part of it below `prefix`; unfinished objects lie in `spool` until they are committed."""

    def __init__(self, client: S3Client, bucket: str, prefix: str, spool: Path) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._spool = spool
        self._scratch = Scratch(spool)

    @classmethod
    def open(cls, url: str, spool: Path, *, endpoint: str = "", hurried: bool = False) -> S3Store:
        """Open `s3://bucket/prefix`; `endpoint` is a server other than AWS. Permanent without a bucket."""
        parts = urlsplit(url)
        if not parts.netloc:
            raise Permanent("REELAY_STORE names no bucket: s3://bucket/prefix")
        config = Config(
            connect_timeout=CONNECT[hurried].total_seconds(),
            read_timeout=READ[hurried].total_seconds(),
            max_pool_connections=2 if hurried else 32,
            retries={"mode": "standard", "max_attempts": 1 if hurried else 4},
            s3={"addressing_style": "path" if endpoint else "auto"},
            # servers other than AWS do not support the checksums that boto3 sends by default since 1.36
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        client = boto3.client("s3", endpoint_url=endpoint or None, config=config)
        return cls(client, parts.netloc, parts.path, spool)

    @property
    def fetches(self) -> bool:
        """Return True: both pass through the spool."""
        return True

    def begin(self, key: str) -> Path:
        """Return a local file, the same one each time, so that a killed writer's file can be found."""
        path = self._spool / check_key(key)
        with _translated(key):
            path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def commit(self, key: str) -> None:
        """Upload the local file, then remove it; do nothing when the object is there and the file is not."""
        path = self._spool / check_key(key)
        if not path.is_file():
            if self.info(key) is None:
                raise ObjectMissing(f"{key} is not in the store")
            return
        with _translated(key):
            self._client.upload_file(str(path), self._bucket, self._prefix + key, Config=TRANSFER)
            path.unlink(missing_ok=True)

    def put(self, key: str, data: bytes) -> None:
        """Write in one request: S3 shows the old object or the new one, never a part."""
        with _translated(key):
            self._client.put_object(Bucket=self._bucket, Key=self._prefix + check_key(key), Body=data)

    def get(self, key: str, *, limit: int = 64 << 20) -> bytes:
        """Read the whole object."""
        with _translated(key):
            answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + check_key(key))
            with contextlib.closing(answer["Body"]) as body:
                if answer["ContentLength"] > limit:
                    raise Permanent(f"{key} is larger than {limit} bytes")
                return body.read()

    def read(self, key: str, offset: int, length: int, *, chunk: int = 1 << 18, version: str = "") -> Iterator[bytes]:
        """Read a range in one request, and yield it in pieces."""
        check_key(key)
        if length <= 0:
            return
        try:
            with _translated(key):
                condition: dict[str, Any] = {"IfMatch": version} if version else {}
                answer = self._client.get_object(
                    Bucket=self._bucket, Key=self._prefix + key, Range=f"bytes={offset}-{offset + length - 1}",
                    **condition,
                )  # fmt: skip
        except _PastEnd:
            return
        with contextlib.closing(answer["Body"]) as body:
            if version and answer["ETag"] != version:  # a server that does not support the condition
                raise ObjectMissing(f"{key} is another object now")
            while True:
                with _translated(key):
                    piece = body.read(chunk)
                if not piece:
                    return
                yield piece

    def info(self, key: str) -> ObjectInfo | None:
        """Ask for the object's head."""
        try:
            with _translated(key):
                answer = self._client.head_object(Bucket=self._bucket, Key=self._prefix + check_key(key))
        except ObjectMissing:
            return None
        return ObjectInfo(key, answer["ContentLength"], _ms(answer["LastModified"]), answer["ETag"])

    @contextlib.contextmanager
    def local(self, key: str) -> Iterator[Path]:
        """Download to a file that is removed when the block ends, or by the next process if this one is killed."""
        check_key(key)
        with _translated(key):
            handle, name = tempfile.mkstemp(dir=self._scratch.folder())
        os.close(handle)
        path = Path(name)
        try:
            with _translated(key):
                self._client.download_file(self._bucket, self._prefix + key, name, Config=TRANSFER)
            yield path
        finally:
            path.unlink(missing_ok=True)

    def copy(self, source: str, key: str) -> None:
        """Let the server copy the object, in parts when it is large."""
        where: CopySourceTypeDef = {"Bucket": self._bucket, "Key": self._prefix + check_key(source)}
        with _translated(source):
            self._client.copy(where, self._bucket, self._prefix + check_key(key), Config=TRANSFER)

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        """List page by page, a thousand per request."""
        below = f"{self._prefix}{check_key(prefix)}/" if prefix else self._prefix
        with _translated(prefix):
            more: dict[str, Any] = {"StartAfter": self._prefix + after} if after else {}
            pages = iter(
                self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=below, **more)
            )
        while True:
            with _translated(prefix):
                page = next(pages, None)
            if page is None:
                return
            for entry in page.get("Contents", []):
                key = entry["Key"].removeprefix(self._prefix)
                yield ObjectInfo(key, entry["Size"], _ms(entry["LastModified"]), entry["ETag"])

    def delete(self, key: str, *, version: str = "") -> None:
        """Remove the object, and its uncommitted local file.

        AWS (since September 2025) and Ceph support `If-Match` here; MinIO ignores it, others refuse the request.
        """
        where: dict[str, Any] = {"Bucket": self._bucket, "Key": self._prefix + check_key(key)}
        condition: dict[str, Any] = {"IfMatch": version} if version else {}
        with _translated(key):
            try:
                self._client.delete_object(**where, **condition)
            except ClientError as error:
                if not version or error.response.get("Error", {}).get("Code") not in UNKNOWN:
                    raise
                self._client.delete_object(**where)
            (self._spool / key).unlink(missing_ok=True)
        _prune((self._spool / key).parent, self._spool)

    def check(self, name: str, *, writes: bool) -> None:
        """Write a small object, the same for all instances, and read it back; or list one."""
        if not writes:
            with _translated("the bucket"):
                self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1)
            return
        key = f"{READY}/{name}"
        self.put(key, READY.encode())
        if self.get(key, limit=1024) != READY.encode():
            raise Unavailable("the store does not give what it took")

    def ensure_bucket(self) -> bool:
        """Make the bucket when it is missing; return whether it was made now. Unavailable when that fails."""
        with _translated("the bucket"):
            if self._has_bucket():
                return False
            region = self._client.meta.region_name
            more: dict[str, Any] = {}
            if region not in AT_HOME:
                more["CreateBucketConfiguration"] = {"LocationConstraint": region}
            try:
                self._client.create_bucket(Bucket=self._bucket, **more)
            except ClientError as error:  # made by another provisioning at the same time
                if error.response.get("Error", {}).get("Code") != "BucketAlreadyOwnedByYou":
                    raise
            return True

    def _has_bucket(self) -> bool:
        """Return whether the bucket exists; one that denies access is taken to exist."""
        try:
            self._client.head_bucket(Bucket=self._bucket)
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code in NO_BUCKET:
                return False
            if code not in DENIED:
                raise
        return True


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


class _PastEnd(Permanent):
    """The range begins after the object's end."""


@contextlib.contextmanager
def _translated(key: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in MISSING:
            raise ObjectMissing(f"{key} is not in the store") from error
        if code in PAST_END:
            raise _PastEnd(f"{key} is shorter") from error
        if code in FULL:
            raise StoreFull("no room is left in the store") from error
        raise Unavailable(f"the store failed: {_worded(code)}") from error
    except (BotoCoreError, S3UploadFailedError) as error:
        raise Unavailable(f"the store failed: {_worded(type(error).__name__)}") from error
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StoreFull("no room is left on this machine") from error
        raise Unavailable(f"the store failed: {os.strerror(error.errno or 0)}") from error


def _worded(code: str) -> str:
    return f"{WORDS[code]} ({code})" if code in WORDS else code


def _prune(folder: Path, root: Path) -> None:
    """Remove the folders that are left empty, up to `root`."""
    while folder != root and root in folder.parents:
        try:
            folder.rmdir()
        except OSError:  # not empty, or gone
            return
        folder = folder.parent
