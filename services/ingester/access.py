"""Who may publish: looks up stream keys and passphrases in mirrors of the gateway's buckets."""

from __future__ import annotations

import asyncio
import hmac
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from services.ingester.broadcasts import Broadcast
from services.ingester.forms import DIGITS, LONGEST, unknown
from services.ingester.refusals import PublishRefused, later
from shared.broker.kv import Bucket, Stored
from shared.broker.mirror import Mirror
from shared.errors import Unavailable
from shared.messages.base import Record
from shared.messages.jobs import JobRecord
from shared.messages.keys import BROADCAST_PURPOSE, IngestKey, broadcast_key
from shared.runtime.clock import Clock
from shared.runtime.logging import get_logger
from shared.security.peers import Budget, network_of
from shared.security.secrets import SecretUnreadable, Vault, hash_token
from shared.security.webhooks import open_url

log = get_logger()
LOOK_UP: Final = timedelta(milliseconds=1500)
LOOK_UPS: Final = 16
"""Simultaneous requests to the broker."""
INACTIVE: Final = "the entry point is not active: PUT /v1/jobs/{id}/activate lets its encoder in"
UNKNOWN: Final = 30
UNKNOWN_AGAIN: Final = timedelta(milliseconds=200)
GUESSES: Final = 10
"""Wrong tokens of one live entry that a network may send, before each further one has to wait."""
GUESSES_AGAIN: Final = timedelta(seconds=3)
R = TypeVar("R", bound=Record)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class AdmittedJob:
    """A job that a publisher may publish to."""

    account: str
    event: str
    passphrase: str | None
    on_publish: str = field(default="", repr=False)
    """The URL of its owner that is asked about publishers; empty: none."""
    stream: str = ""
    encrypted: bool | None = None
    """Whether its recording is encrypted; None: as the setting says."""


class Access:
    """Answers the ingest servers' threads. A job that the mirrors do not have yet is requested from the broker.

    While the broker is unavailable, publishers in the mirrors are still admitted. A key that is not there costs its
    network one request of a budget, so that wrong keys get slow; known keys are answered whatever the network spent.
    """

    def __init__(
        self,
        jobs: Mirror[JobRecord],
        keys: Mirror[IngestKey],
        job_bucket: Bucket[JobRecord],
        key_bucket: Bucket[IngestKey],
        vault: Vault,
        clock: Clock,
        takes: Callable[[JobRecord], bool] = lambda job: job.accepts_publisher,
    ) -> None:
        self._takes = takes
        self._jobs = jobs
        self._keys = keys
        self._job_bucket = job_bucket
        self._key_bucket = key_bucket
        self._vault = vault
        self._by_event: dict[str, str] = {}
        self._strangers = Budget(UNKNOWN, UNKNOWN_AGAIN, clock)
        self._guesses = Budget(GUESSES, GUESSES_AGAIN, clock)
        self._asking = threading.BoundedSemaphore(LOOK_UPS)
        self._loop: asyncio.AbstractEventLoop | None = None

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Set the event loop in which the buckets are requested."""
        self._loop = loop

    def job_changed(self, key: str, job: JobRecord | None) -> None:
        """Apply a change from the mirror of the jobs (key `<account>.<event>`)."""
        event = key.partition(".")[2]
        if job is not None:
            self._by_event[event] = key
        elif self._by_event.get(event) == key:
            del self._by_event[event]

    def knows(self, event: str) -> bool:
        """Return whether a job's id can be answered from memory."""
        return event in self._by_event

    def by_stream_key(self, stream_key: str, address: str) -> AdmittedJob:
        """Return the job of an RTMP stream key; PublishRefused when there is none, or it takes no publisher now."""
        if not stream_key or len(stream_key) > LONGEST:
            raise unknown("")
        name = f"ingest.{hash_token(stream_key)}"
        found = self._keys.get(name) or self._ask(self._key_bucket, name, address)
        if found is None:
            raise unknown(stream_key)
        return self._entry(self._job_of(found, address, unknown(stream_key)))

    def by_broadcast(self, wanted: Broadcast, address: str) -> AdmittedJob:
        """Return the job of a live entry for who knows its token; PublishRefused as above."""
        guesses = network_of(address), wanted.entry
        if self._guesses.spent(guesses):
            raise PublishRefused("too many wrong tokens, try again in some seconds", "later")
        name, nobody = _key_of(wanted), PublishRefused("there is no such live entry")
        found = self._keys.get(name) or self._ask(self._key_bucket, name, address)
        if found is None or not found.owner:
            raise nobody
        job = self._job_of(found, address, nobody)
        if wanted.owner not in {"", found.owner} or not self._is_token(found, wanted.token):
            self._guesses.charge(guesses)
            raise PublishRefused("the token is not this entry's", "denied").about(job.account, job.event)
        return self._entry(job)

    def knows_broadcast(self, wanted: Broadcast) -> bool:
        """Return whether an entry can be answered from memory."""
        found = self._keys.get(_key_of(wanted))
        return found is not None and found.event in self._by_event

    def _job_of(self, found: IngestKey, address: str, nobody: PublishRefused) -> JobRecord:
        key = f"{found.account}.{found.event}"
        job = self._jobs.get(key) or self._ask(self._job_bucket, key, address)
        if job is None:
            raise nobody
        return job

    def _is_token(self, found: IngestKey, given: str) -> bool:
        try:
            right = self._vault.decrypt(found.token, BROADCAST_PURPOSE)
        except SecretUnreadable:
            log.error("access.secret.unreadable", job=found.event, account=found.account)
            raise PublishRefused("the job's secrets cannot be read by this server") from None
        return hmac.compare_digest(right.encode(), given.encode())

    def by_event(self, event: str, address: str) -> AdmittedJob:
        """Return a job by its id, for SRT, where the passphrase is the secret; PublishRefused as above."""
        if len(event) != DIGITS or not event.isalnum():
            raise PublishRefused("no job has this id")
        job = self._jobs.get(self._by_event.get(event, ""))
        if job is None:
            found = self._wait(self._job_bucket.items(f"*.{event}"), address)
            job = found[0].value if found else None
        if job is None:
            raise PublishRefused("no job has this id")
        return self._entry(job)

    def require(self, entry: AdmittedJob, address: str) -> None:
        """Raise PublishRefused when a job takes no publisher any more: it may have ended since it was looked up."""
        key = f"{entry.account}.{entry.event}"
        job = self._jobs.get(key) or self._ask(self._job_bucket, key, address)
        if job is None:
            raise PublishRefused("the job was deleted", "over").about(entry.account, entry.event)
        self._check(job)

    def _check(self, job: JobRecord) -> None:
        if job.is_inactive and not job.ended:
            raise PublishRefused(INACTIVE, "over").about(job.account, job.event)
        if not self._takes(job):
            stage = job.state if job.ended else "being stopped"
            raise PublishRefused(f"the job is {stage} and takes no publisher any more", "over").about(
                job.account, job.event
            )

    def _entry(self, job: JobRecord) -> AdmittedJob:
        self._check(job)
        try:
            passphrase = self._vault.decrypt(job.passphrase, "passphrase")
            on_publish = open_url(self._vault, job.on_publish)
        except SecretUnreadable:
            log.error("access.secret.unreadable", job=job.event, account=job.account)
            raise PublishRefused("the job's secrets cannot be read by this server") from None
        return AdmittedJob(job.account, job.event, passphrase, on_publish, job.stream, job.encrypted)

    def _ask(self, bucket: Bucket[R], key: str, address: str) -> R | None:
        """Request a key from the broker in a server's thread; return None when it is missing or unreadable."""
        try:
            stored: Stored[R] | None = self._wait(bucket.get(key), address)
        except ValidationError:
            log.error("access.record.unreadable", key=key)
            return None
        return stored.value if stored else None

    def _wait(self, work: Coroutine[Any, Any, T], address: str) -> T:
        """Return the broker's answer; PublishRefused "later" when there is none in time, or too many are requested."""
        if self._loop is None or not self._strangers.take(network_of(address)):
            work.close()
            raise later()
        if not self._asking.acquire(blocking=False):
            work.close()
            raise later()
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(LOOK_UP.total_seconds())
        except (Unavailable, FutureTimeoutError):
            future.cancel()
            raise later() from None
        finally:
            self._asking.release()


def _key_of(wanted: Broadcast) -> str:
    return f"ingest.{hash_token(broadcast_key(wanted.entry))}"
