"""Live jobs: creates them, changes their state, announces it."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Final

from nats.js import JetStreamContext

from services.gateway.domain.errors import StateConflict, no_such
from services.gateway.domain.jobs import activation
from services.gateway.domain.jobs import state as job_state
from services.gateway.domain.jobs.publishers import Publishers
from services.gateway.domain.lists.lists import JOB_UNTOLD, UNTOLD, jobs_list
from services.gateway.domain.lists.orders import Wanted
from services.gateway.domain.quotas import Quotas, Tally
from shared.broker import buckets
from shared.broker.bus import Outbox
from shared.broker.kv import Bucket, Conflict, Stored
from shared.errors import Permanent
from shared.messages.base import Notification
from shared.messages.jobs import ENDED_STATES, EntryPoint, JobRecord, StateChange
from shared.messages.keys import IngestKey
from shared.messages.live import LiveFinish, SessionEnded, SessionStarted
from shared.messages.media import RecordingDelete
from shared.messages.sessions import SessionRecord
from shared.runtime.clock import Clock
from shared.security.secrets import SecretUnreadable, Vault, hash_token
from shared.security.webhooks import open_url, seal_url

STOP_WAIT: Final = timedelta(seconds=30)
KEY_PURPOSE: Final = "stream-key"
PASSPHRASE_PURPOSE: Final = "passphrase"  # noqa: S105  the name of a purpose


@dataclass(frozen=True, slots=True)
class NewJob:
    """The fields of a job that a client sets."""

    name: str
    reconnect_time_s: int
    event_length_s: int
    dvr_window_s: int
    static: bool
    fields: dict[str, Any]
    always_active: bool = False
    notifications: tuple[Notification, ...] = ()
    on_publish: str = ""
    stream: str = ""
    encrypted: bool | None = None


class Jobs:
    """The bucket `events`; each change of state is written first, then announced, and again if that is uncertain."""

    def __init__(
        self,
        jetstream: Callable[[], JetStreamContext],
        outbox: Outbox,
        vault: Vault,
        clock: Clock,
        quotas: Quotas,
        goes_on: job_state.GoesOn,
    ) -> None:
        self.going = Tally(jetstream, buckets.JOBS, ENDED_STATES)
        self._quotas, self._goes_on = quotas, goes_on
        self.bucket = Bucket(jetstream, buckets.JOBS, JobRecord)
        self.list = jobs_list(jetstream)
        self._keys = Bucket(jetstream, buckets.KEYS, IngestKey)
        self.publishers = Publishers(jetstream, clock)
        self._sessions = Bucket(jetstream, buckets.SESSIONS, SessionRecord)
        self._outbox = outbox
        self._vault = vault
        self._clock = clock

    async def create(self, account: str, event: str, asked: NewJob) -> JobRecord:
        """Make a job in standby; when one of this id exists already (a repeated request), return that one.

        TooMany when the account has as many as it may.
        """
        known = partial(self.going.knows, account)
        async with self._quotas.room(account, "live jobs", partial(self.going.of, account), [event], known):
            return await self._create(account, event, asked)

    async def _create(self, account: str, event: str, asked: NewJob) -> JobRecord:
        stream_key = secrets.token_hex(16)
        now = self._clock.now_ms()
        job = JobRecord(
            account=account,
            event=event,
            name=asked.name,
            state="standby",
            history=(StateChange(state="standby", at_ms=now, sep_state="ready" if asked.static else "none"),),
            created_ms=now,
            changed_ms=now,
            reconnect_time_s=asked.reconnect_time_s,
            event_length_s=asked.event_length_s,
            dvr_window_s=asked.dvr_window_s,
            static=asked.static,
            entry=EntryPoint() if asked.static and not asked.always_active else None,
            notifications=asked.notifications,
            encrypted=asked.encrypted,
            stream_key=self._vault.encrypt(stream_key, KEY_PURPOSE),
            passphrase=self._vault.encrypt(secrets.token_hex(16), PASSPHRASE_PURPOSE),
            fields=asked.fields,
            on_publish=asked.on_publish,
            stream=asked.stream,
        )
        revision = None
        try:
            revision = await self.bucket.create(_key(account, event), job)
        except Conflict:
            job = await self.get(account, event)
            stream_key = self.stream_key(job)
        await asyncio.gather(self._register(job, stream_key), self._announce(job, revision))
        return job

    async def _register(self, job: JobRecord, stream_key: str) -> None:
        """Register the stream key, so that publishers find the job; idempotent."""
        entry = IngestKey(account=job.account, event=job.event)
        with contextlib.suppress(Conflict):
            await self._keys.create(f"ingest.{hash_token(stream_key)}", entry)

    def stream_key(self, job: JobRecord) -> str:
        """Return the stream key in clear."""
        return self._vault.decrypt(job.stream_key, KEY_PURPOSE)

    def passphrase(self, job: JobRecord) -> str:
        """Return the SRT passphrase in clear."""
        return self._vault.decrypt(job.passphrase, PASSPHRASE_PURPOSE)

    async def get(self, account: str, event: str) -> JobRecord:
        """Return an account's job; NotFound when it has none of this id."""
        stored = await self.bucket.get(_key(account, event))
        if stored is None:
            raise no_such("job")
        return stored.value

    async def describe(self, account: str, event: str, name: str, asks: str, stream: str) -> None:
        """Give a job another name for people, and the URL that is asked about its publishers, under the stream's name.

        Nothing happens when there is no such job.
        """

        def changed(job: JobRecord | None) -> JobRecord | None:
            if job is None or (job.name, self._url(job), job.stream) == (name, asks, stream):
                return None
            return job.model_copy(update={"name": name, "on_publish": self.sealed(asks), "stream": stream})

        await self.bucket.change(_key(account, event), changed)

    async def rewind(self, account: str, event: str, window_s: int) -> None:
        """Set a job's sliding window; nothing happens when there is no such job."""

        def changed(job: JobRecord | None) -> JobRecord | None:
            if job is None or job.dvr_window_s == window_s:
                return None
            return job.model_copy(update={"dvr_window_s": window_s})

        await self.bucket.change(_key(account, event), changed)

    def sealed(self, url: str) -> str:
        """Return a URL as it is stored; empty for none."""
        return seal_url(self._vault, url) if url else ""

    def _url(self, job: JobRecord) -> str | None:
        """Return the URL that is asked about a job's publishers; None when it was sealed with another SECRET_KEY."""
        try:
            return open_url(self._vault, job.on_publish)
        except SecretUnreadable:
            return None

    async def stop(self, account: str, event: str) -> JobRecord:
        """Finish a job; NotFound, or StateConflict when it was cancelled."""
        return await self._asked(account, event, job_state.stop)

    async def cancel(self, account: str, event: str) -> JobRecord:
        """Cancel a job; NotFound, or StateConflict when it has finished."""
        return await self._asked(account, event, job_state.cancel)

    async def activate(self, account: str, event: str) -> JobRecord:
        """Let publishers into a static entry point; NotFound or StateConflict."""
        return await self._asked(account, event, activation.activate)

    async def deactivate(self, account: str, event: str) -> JobRecord:
        """Let no publisher into a static entry point any more; NotFound or StateConflict."""
        return await self._asked(account, event, activation.deactivate)

    async def delete(self, account: str, event: str) -> None:
        """Remove a job that has ended, its stream key and its recording; NotFound or StateConflict."""
        job = await self.get(account, event)
        if not job.ended:
            raise StateConflict(f"the job is {job.state}: stop or cancel it first")
        await self.delete_recording(job, None, None)
        with contextlib.suppress(SecretUnreadable):
            await self._keys.delete(f"ingest.{hash_token(self.stream_key(job))}")
        await self.bucket.delete(_key(account, event))

    async def delete_recording(self, job: JobRecord, from_ms: int | None, to_ms: int | None) -> None:
        """Request the deletion of a job's recording, or of a range of it."""
        now = self._clock.now_ms()
        wish = RecordingDelete(account=job.account, event=job.event, from_ms=from_ms, to_ms=to_ms, at_ms=now)
        await self._outbox.emit(wish)

    async def _asked(self, account: str, event: str, how: Callable[[JobRecord, int], JobRecord]) -> JobRecord:
        await self.get(account, event)
        return await self._apply(account, event, lambda job: how(job, self._clock.now_ms()))

    async def started(self, event: SessionStarted) -> None:
        """Apply the start of a session; Permanent when there is no such job."""
        await self._apply(event.account, event.event, lambda job: job_state.started(job, event, self._goes_on))

    async def ended(self, event: SessionEnded) -> None:
        """Apply the end of a session; Permanent when there is no such job."""
        await self._apply(event.account, event.event, lambda job: job_state.ended(job, event, self._goes_on))

    async def finish(self, command: LiveFinish) -> None:
        """Apply the end of a wait; Permanent when there is no such job."""
        stored = await self._sessions.items(_key(command.account, command.event))
        sessions = [s.value for s in stored if s.value.ended_ms is None]
        if any(s.session == command.session and s.resumed > command.resumed for s in sessions):
            return  # the session was resumed; its event will follow
        live = frozenset(session.session for session in sessions)
        await self._apply(command.account, command.event, lambda job: job_state.finish(job, command, live))

    async def announce_all(self) -> None:
        """Announce the changes that a killed gateway has written but not announced."""
        for account in await self.list.accounts():
            untold = await self.list.idents(account, Wanted({JOB_UNTOLD: UNTOLD}))
            for job in (await self.list.read(account, untold)).values():
                if job.announced < job.revision:
                    await self._announce(job)

    async def _apply(self, account: str, event: str, how: Callable[[JobRecord], JobRecord]) -> JobRecord:
        def change(job: JobRecord | None) -> JobRecord | None:
            if job is None:
                raise Permanent(f"there is no job {event}")
            following = how(job)
            return following if following is not job else None

        job = await self.bucket.change(_key(account, event), change)
        assert job is not None  # noqa: S101  `change` raises otherwise
        if job.state in {"finishing", "cancelling"}:
            await self._bound_the_wait(job)
        if alone := activation.no_encoder(job):
            await self._outbox.schedule(f"encoder-{job.event}", alone.at_ms, alone)
        await self._announce(job)
        return job

    async def _bound_the_wait(self, job: JobRecord) -> None:
        """Schedule the finish of a job, in case its session never reports its end."""
        at_ms = job.changed_ms + STOP_WAIT // timedelta(milliseconds=1)
        command = LiveFinish(
            account=job.account, event=job.event, session=job.session, reason="reconnect_time", at_ms=at_ms
        )
        await self._outbox.schedule(f"stop-{job.event}", at_ms, command)

    async def _announce(self, job: JobRecord, revision: int | None = None) -> None:
        """Send the events not known to be sent, then record that they are; `revision` in the bucket saves a read."""
        events = job_state.unannounced(job)
        for event in events:
            await self._outbox.emit(event)
        if not events:
            return
        key, done = _key(job.account, job.event), events[-1].revision
        if revision is not None:
            with contextlib.suppress(Conflict):
                await self.bucket.replace(Stored(key, job, revision), job.model_copy(update={"announced": done}))
                return
        await self.bucket.change(
            key, lambda now: now.model_copy(update={"announced": done}) if now and now.announced < done else None
        )


def _key(account: str, event: str) -> str:
    return f"{account}.{event}"
