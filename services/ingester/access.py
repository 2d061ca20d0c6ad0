"""Who may publish: stream keys and passphrases, looked up in mirrors of the gateway's buckets."""

from __future__ import annotations

import asyncio
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from shared.errors import Unavailable
from shared.kv import Bucket
from shared.logging import get_logger
from shared.messages.jobs import IngestKey, JobRecord
from shared.mirror import Mirror
from shared.secrets import SecretUnreadable, Vault, hash_token

log = get_logger()
LOOK_UP_S: Final = 1.5


@dataclass(frozen=True, slots=True)
class Entry:
    """A job that a publisher may publish to."""

    account: str
    event: str
    passphrase: str | None


class Access:
    """Answers the ingest servers' threads. A job made a moment ago is asked for at the broker itself.

    While the broker is away, what the mirrors hold goes on being let in.
    """

    def __init__(
        self,
        jobs: Mirror[JobRecord],
        keys: Mirror[IngestKey],
        job_bucket: Bucket[JobRecord],
        key_bucket: Bucket[IngestKey],
        vault: Vault,
    ) -> None:
        self._jobs = jobs
        self._keys = keys
        self._job_bucket = job_bucket
        self._key_bucket = key_bucket
        self._vault = vault
        self._loop: asyncio.AbstractEventLoop | None = None

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Say which loop the buckets are asked in."""
        self._loop = loop

    def by_stream_key(self, stream_key: str) -> Entry | None:
        """Find the job of an RTMP stream key; None when it has none, or takes no publisher now."""
        if not stream_key or len(stream_key) > 256:
            return None
        name = f"ingest.{hash_token(stream_key)}"
        found = self._keys.get(name) or self._ask(self._key_bucket, name)
        return self._entry(f"{found.account}.{found.event}") if isinstance(found, IngestKey) else None

    def by_event(self, event: str) -> Entry | None:
        """Find a job by its id, for SRT, where the passphrase is the secret."""
        if len(event) != 32 or not event.isalnum():
            return None
        for key in self._jobs.values():
            if key.endswith(f".{event}"):
                return self._entry(key)
        return self._entry_of(self._ask_event(event))

    def _entry(self, key: str) -> Entry | None:
        job = self._jobs.get(key) or self._ask(self._job_bucket, key)
        return self._entry_of(job if isinstance(job, JobRecord) else None)

    def _entry_of(self, job: JobRecord | None) -> Entry | None:
        if job is None or not job.accepts_publisher:
            return None
        try:
            passphrase = self._vault.decrypt(job.passphrase, "passphrase")
        except SecretUnreadable:
            return None
        return Entry(job.account, job.event, passphrase)

    def _ask_event(self, event: str) -> JobRecord | None:
        if self._loop is None:
            return None
        future = asyncio.run_coroutine_threadsafe(self._job_bucket.items(f"*.{event}"), self._loop)
        try:
            found = future.result(LOOK_UP_S)
        except (Unavailable, FutureTimeoutError):
            future.cancel()
            return None
        return found[0].value if found else None

    def _ask(self, bucket: Bucket[JobRecord] | Bucket[IngestKey], key: str) -> JobRecord | IngestKey | None:
        """Ask the broker from a server's thread; None when it does not answer in time, or has an unreadable record."""
        if self._loop is None:
            return None
        future = asyncio.run_coroutine_threadsafe(bucket.get(key), self._loop)
        try:
            stored = future.result(LOOK_UP_S)
        except (Unavailable, FutureTimeoutError):
            future.cancel()
            return None
        except ValidationError:
            log.error("access.record.unreadable", key=key)
            return None
        return stored.value if stored else None
