"""Streams: names for live jobs that never end by themselves, and what clients set of them."""

from __future__ import annotations

import asyncio
import json
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from pydantic import ValidationError

from services.gateway.domain.errors import Fault, Invalid, NotFound, StateConflict, TooMany, invalid, no_such
from services.gateway.domain.ids import is_id
from services.gateway.domain.jobs.jobs import Jobs, NewJob
from services.gateway.domain.quotas import NUMBER_AGAIN
from services.gateway.domain.receivers import Receivers
from services.gateway.facades.flussonic.models import (
    LARGEST_CONFIG,
    ON_PLAY,
    ON_PUBLISH,
    RESET,
    SHOWN_ONLY,
    StreamConfig,
    merged,
)
from services.gateway.facades.flussonic.names import known_name, new_name
from services.gateway.http.problems import faults_of
from services.gateway.identity.aliases import MOST_PAST, SETTINGS_PURPOSE, Alias, Aliases, Conflict
from shared.broker.kv import STEP_ASIDE, Stored
from shared.errors import Rejected
from shared.messages.jobs import JobRecord
from shared.runtime.clock import Clock
from shared.runtime.logging import get_logger
from shared.security.secrets import SecretUnreadable, Vault

log = get_logger()
VENDOR: Final = "flussonic"
TRIES: Final = 40
MOST_NAMES: Final = 2000
"""Each gateway holds all names in memory, with what was set: so many for an account, those of ended jobs, too."""
RECONNECT: Final = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream: its name, its jobs with the present one first, and what was set."""

    account: str
    name: str
    events: tuple[str, ...]
    config: dict[str, Any]
    alias: Alias | None = None

    @property
    def event(self) -> str:
        """Its present job."""
        return self.events[0]


class Streams:
    """Finds, makes, changes and ends streams.

    A name means one job at a time. When that has ended or was deleted, the next PUT begins a new one, and the name
    still finds the recordings of those before. A job that /v1 made is a stream under its id.
    """

    def __init__(self, jobs: Jobs, aliases: Aliases, vault: Vault, clock: Clock, receivers: Receivers) -> None:
        self.jobs = jobs
        self._receivers = receivers
        self.aliases = aliases
        self._vault = vault
        self._clock = clock

    async def find(self, account: str, name: str, unknown: Callable[[], None] = lambda: None) -> Stream:
        """Return a stream, as it was at most a few seconds ago, without a look at its job; NotFound.

        `unknown` is called before the broker is asked about a name; it may raise.
        """
        alias = await self.aliases.find(account, known_name(name), unknown)
        if alias is not None and alias.made:
            return self.of(alias)
        if is_id(name):
            return Stream(account, name, (name,), {})
        raise no_such("stream")

    async def get(self, account: str, name: str) -> tuple[Stream, JobRecord | None]:
        """Return a stream and its job, None when that was deleted; NotFound.

        A job of /v1 is a stream until it has ended.
        """
        stored = await self.aliases.get(account, known_name(name))
        if stored is not None and stored.value.made:
            return self.of(stored.value), await self.job(account, stored.value.event)
        job = await self.job(account, name) if is_id(name) else None
        if job is None or job.ended:
            raise no_such("stream")
        return Stream(account, name, (name,), self._of_job(job)), job

    async def put(self, account: str, name: str, patch: dict[str, Any]) -> tuple[Stream, JobRecord | None]:
        """Make a stream, or merge a patch into it; Invalid, TooMany, Conflict.

        StateConflict when what was set before cannot be read, unless the patch replaces it all (`$reset`).
        """
        new_name(name)
        for conflicts in range(TRIES):
            stored = await self.aliases.get(account, name)
            before = self._before(stored.value, patch) if stored else {}
            asked = {k: v for k, v in patch.items() if k == RESET or k not in SHOWN_ONLY}
            config = self._checked(merged(before, asked))
            alias = await self._next(account, name, stored.value if stored else None, config)
            try:
                stored = await self.aliases.write(stored, alias)
                await self._made(stored, config)
            except Conflict:
                await asyncio.sleep(random.random() * min(conflicts, 10) * STEP_ASIDE.total_seconds())
                continue
            return await self.get(account, name)
        raise Conflict(f"the stream {name} keeps changing")

    async def _next(self, account: str, name: str, before: Alias | None, config: dict[str, Any]) -> Alias:
        """Return what a name is to mean: its job while that goes on, or else a new one."""
        now = self._clock.now_ms()
        settings, asks = self._vault.encrypt(json.dumps(config), SETTINGS_PURPOSE), bool(config.get(ON_PLAY))
        if before is None:
            found = await self.job(account, name) if is_id(name) else None
            if is_id(name) and (found is None or found.ended):
                raise invalid("name", "has the form of a job's id, and there is no such live job")
            await self._room(account)
            event = name if found else uuid.uuid4().hex
            return Alias(
                account=account, name=name, event=event, settings=settings, asks=asks, created_ms=now, changed_ms=now
            )  # fmt: skip
        changes: dict[str, Any] = {"settings": settings, "asks": asks, "changed_ms": max(now, before.changed_ms)}
        job = await self.job(account, before.event)
        if before.made and (job is None or job.ended):
            past = before.events[:MOST_PAST] if job else before.past
            changes |= {"event": uuid.uuid4().hex, "past": past, "made": False}
        return before.model_copy(update=changes)

    async def _room(self, account: str) -> None:
        """Raise TooMany when an account has all the names that it may have."""
        if len(await self.aliases.all_of(account)) >= MOST_NAMES:
            message = f"the account has at most {MOST_NAMES} names of streams; delete some that are not needed"
            raise TooMany("QUOTA_EXCEEDED", message, NUMBER_AGAIN)

    async def _made(self, stored: Stored[Alias], config: dict[str, Any]) -> None:
        """Make the job of a name, or rename it; the same again when another instance is at it, too. Conflict."""
        alias, title = stored.value, str(config.get("title") or stored.value.name)
        asks = str((config.get(ON_PUBLISH) or {}).get("url", ""))
        if alias.made or alias.event == alias.name:
            await self.jobs.describe(alias.account, alias.event, title, asks, alias.name)
        else:
            new = NewJob(
                name=title,
                reconnect_time_s=RECONNECT // timedelta(seconds=1),
                event_length_s=0,
                dvr_window_s=0,
                static=True,
                fields={},
                always_active=True,
                on_publish=self.jobs.sealed(asks),
                stream=alias.name,
            )
            try:
                await self.jobs.create(alias.account, alias.event, new)
            except Rejected:
                await self._undo(stored)
                raise
        if not alias.made:
            await self.aliases.confirm(alias)

    async def _undo(self, stored: Stored[Alias]) -> None:
        """Take back a name whose job could not be made."""
        alias = stored.value
        if not alias.past:
            await self.aliases.remove(stored)
        else:
            before = {"event": alias.past[0], "past": alias.past[1:], "made": True}
            await self.aliases.write(stored, alias.model_copy(update=before))

    async def stop(self, account: str, name: str) -> None:
        """End a stream's job: its encoder is disconnected, its recording is kept; NotFound."""
        _, job = await self.get(account, name)
        await self._end(job)

    async def delete(self, account: str, name: str) -> None:
        """End a stream's job and drop its name; its recordings stay, under the ids of their jobs. NotFound."""
        for _ in range(TRIES):
            stored = await self.aliases.get(account, known_name(name))
            _, job = await self.get(account, name)
            try:
                if stored is not None:
                    await self.aliases.remove(stored)
            except Conflict:
                continue
            await self._end(job)
            return
        raise Conflict(f"the stream {name} keeps changing")

    async def _end(self, job: JobRecord | None) -> None:
        if job is None or job.ended or job.state in {"finishing", "cancelling"}:
            return
        await self.jobs.stop(job.account, job.event)

    async def job(self, account: str, event: str) -> JobRecord | None:
        """Return a job; None when there is none of this id."""
        try:
            return await self.jobs.get(account, event)
        except NotFound:
            return None

    def of(self, alias: Alias) -> Stream:
        """Return the stream of a name."""
        return Stream(alias.account, alias.name, alias.events, self.settings(alias), alias)

    def of_job(self, job: JobRecord) -> Stream:
        """Return the stream of a job that has no name."""
        return Stream(job.account, job.event, (job.event,), self._of_job(job))

    @staticmethod
    def _of_job(job: JobRecord) -> dict[str, Any]:
        return {"title": job.name} if job.name else {}

    def settings(self, alias: Alias) -> dict[str, Any]:
        """Return what was set of a stream; nothing when it was encrypted under another SECRET_KEY."""
        try:
            return self._opened(alias)
        except SecretUnreadable:
            log.warning("stream.settings.unreadable", event_id=alias.event)
            return {}

    def _checked(self, config: dict[str, Any]) -> dict[str, Any]:
        """Return a configuration that is valid; Invalid, its fields as pointers."""
        if len(json.dumps(config)) > LARGEST_CONFIG:
            raise invalid("", f"the configuration takes more than {LARGEST_CONFIG} bytes")
        try:
            StreamConfig.model_validate(config)
        except ValidationError as error:
            raise pointed(faults_of(error.errors(include_url=False, include_input=False))) from error
        for backend in (ON_PLAY, ON_PUBLISH):
            if config.get(backend):
                self._receivers.checked(f"/{backend}/url", config[backend]["url"])
        return config

    def _before(self, alias: Alias, patch: dict[str, Any]) -> dict[str, Any]:
        """Return what a patch is merged into; StateConflict, so that no patch wipes out what a lost key has sealed."""
        try:
            return self._opened(alias)
        except SecretUnreadable as error:
            if patch.get("$reset") is True:
                return {}
            why = "the stream's settings were encrypted under another SECRET_KEY; send $reset: true to replace them"
            raise StateConflict(why) from error

    def _opened(self, alias: Alias) -> dict[str, Any]:
        text = self._vault.decrypt(alias.settings, SETTINGS_PURPOSE) if alias.settings else "{}"
        return dict(json.loads(text))


def pointed(error: Invalid) -> Invalid:
    """Return an error about a body, with its fields as JSON pointers."""

    def pointer(field: str) -> str:
        return f"/{field.replace('[', '.').replace(']', '').replace('.', '/')}" if field else ""

    return Invalid(*(Fault(pointer(fault.field), fault.why) for fault in error.faults), code=error.code)
