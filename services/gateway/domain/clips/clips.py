"""Clips: from a request to commands, and from commands and records back to what a client sees."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple, get_args

from nats.js import JetStreamContext

from services.gateway.domain.clips.asked import NewClip, Settled, command_of, ranges_of
from services.gateway.domain.clips.bounds import Bounds
from services.gateway.domain.clips.file_names import file_name
from services.gateway.domain.clips.pending import Pending
from services.gateway.domain.clips.ranges import Ranges, check_together
from services.gateway.domain.destinations.destinations import Destinations, Stored
from services.gateway.domain.errors import StateConflict, gathered, no_such
from services.gateway.domain.jobs.jobs import Jobs
from services.gateway.domain.lists.lists import CLIP_JOB, CLIP_STATE, clips_list
from services.gateway.domain.lists.orders import Time, Wanted
from services.gateway.domain.lists.pages import Page, Paging
from services.gateway.domain.quotas import Quotas, Tally
from services.gateway.domain.receivers import Receivers
from services.gateway.domain.soon import soon
from services.gateway.domain.told import Told
from shared.broker import buckets
from shared.broker.bus import Outbox
from shared.broker.kv import Bucket
from shared.messages.clips import ClipCancel, ClipCreate, ClipDelete, ClipRecord, VodState
from shared.messages.ranges import ReelRange
from shared.recording.needed import needed
from shared.runtime.clock import Clock
from shared.security.secrets import Vault

ENDED: Final[frozenset[VodState]] = frozenset({"finished", "cancelled", "failed", "error"})


class Outward(NamedTuple):
    """What a clip may reach outside."""

    receivers: Receivers
    destinations: Destinations
    vault: Vault


@dataclass(frozen=True, slots=True)
class KnownClip:
    """What is known of a clip: the clipper's record or, until there is one, the command.

    `cancelling`: the clipper has not handled the cancellation yet.
    """

    request: ClipCreate
    record: ClipRecord | None
    cancelling: bool = False

    @property
    def state(self) -> VodState:
        """The state that clients see."""
        if self.record and self.record.state in ENDED:
            return self.record.state
        waiting: VodState = "waiting_finish_live" if self.request.after_live else "waiting"
        return "cancelling" if self.cancelling else self.record.state if self.record else waiting

    @property
    def created_ms(self) -> int:
        """When it was requested, ms."""
        return self.record.created_ms if self.record else self.request.requested_ms

    @property
    def changed_ms(self) -> int:
        """When it last changed, ms."""
        return self.record.changed_ms if self.record else self.request.requested_ms


class Clips:
    """Accepts clips and finds them."""

    def __init__(
        self,
        jetstream: Callable[[], JetStreamContext],
        outbox: Outbox,
        jobs: Jobs,
        outward: Outward,
        bounds: Bounds,
        clock: Clock,
        quotas: Quotas,
    ) -> None:
        self.going = Tally(jetstream, buckets.CLIPS, ENDED)
        self.list = clips_list(jetstream)
        self._quotas = quotas
        self._jetstream = jetstream
        self._outbox = outbox
        self._jobs = jobs
        self._receivers = outward.receivers
        self._told = Told(outward.receivers)
        self._vault = outward.vault
        self._destinations = outward.destinations
        self._bounds = bounds
        self._ranges = Ranges(jetstream, jobs, bounds)
        self._clock = clock
        self._pending = Pending(jetstream)
        self._records = Bucket(jetstream, buckets.CLIPS, ClipRecord)

    async def create(
        self, account: str, job_id: str, asked: Sequence[NewClip], ids: Callable[[int], str]
    ) -> list[ClipCreate]:
        """Check all clips, then send their commands; NotFound, Invalid or TooMany before any is sent."""
        await self._jobs.get(account, job_id)
        ranges = await self._ranges.resolve(account, [ranges_of(one, job_id) for one in asked])
        for one, parts in zip(asked, ranges, strict=True):
            check_together(one.field, parts)
        commands = await self.prepared(account, job_id, asked, ranges, ids)
        async with self.room(account, commands):
            await asyncio.gather(*(self._outbox.emit(command) for command in commands))
        return commands

    async def prepared(
        self, account: str, job_id: str, asked: Sequence[NewClip], ranges: Sequence[Sequence[ReelRange]],
        ids: Callable[[int], str],
    ) -> list[ClipCreate]:  # fmt: skip
        """Check receivers and destinations, and return the commands; Invalid."""
        self._quotas.outputs(len(asked))
        stored = await self._destinations.stored(account) if any(map(_needs_credentials, asked)) else Stored()
        clips = list(map(ids, range(len(asked))))
        receivers = [self._told.sealed(f"{one.field}.", one.receivers, stored) for one in asked]
        edits = gathered(partial(one.edit.sealed, self._receivers) for one in asked)
        destinations = gathered(
            partial(self._destinations.of, clip, file_name(one.label, clip), one.destinations, stored)
            for one, clip in zip(asked, clips, strict=True)
        )
        keys = [one.encryption.sealed(self._vault) if one.encryption else None for one in asked]
        settled = zip(asked, clips, ranges, destinations, receivers, edits, keys, strict=True)
        now = self._clock.now_ms()
        return [command_of(account, job_id, now, Settled(*one)) for one in settled]

    def room(self, account: str, commands: Sequence[ClipCreate]) -> AbstractAsyncContextManager[None]:
        """Return the block in which commands may be sent; TooMany when the account has too many clips in work."""
        clips, known = [command.clip for command in commands], partial(self.going.knows, account)
        return self._quotas.room(account, "clips in work", partial(self._going, account), clips, known)

    async def _going(self, account: str) -> frozenset[str]:
        """Return the clips in work, and those that no clipper has taken up yet."""
        named = await self._pending.named(account)
        return await self.going.of(account) | {clip for channel, clip in named if channel == ClipCreate.channel}

    async def find(self, account: str, clip: str) -> KnownClip:
        """Return an account's clip; NotFound when it has none of this id."""
        key = f"{account}.{clip}"
        stored = await self._records.get(key)
        if stored and stored.value.state in ENDED:
            return KnownClip(stored.value.request, stored.value)
        pending, cancelling = await asyncio.gather(
            self._pending.of(ClipCreate, account, clip), self._pending.of(ClipCancel, account, clip)
        )
        if stored := await self._records.get(key):  # a command that is gone by now is part of the record
            return KnownClip(stored.value.request, stored.value, cancelling is not None)
        if pending is None:
            raise no_such("clip")
        return KnownClip(pending, None, cancelling is not None)

    async def page(
        self, account: str, wanted: Wanted, takes: Callable[[KnownClip], bool], paging: Paging
    ) -> Page[KnownClip]:
        """Return a page of an account's clips: those of the list, merged with the few whose commands wait."""
        loose = await self._loose(account)
        count = paging.page_size + 1
        entries = await self.list.find(account, wanted, paging, count + len(loose))
        settled = [entry.ident for entry in entries if entry.ident not in loose][:count]
        records = await self.list.read(account, settled)
        if len(records) < len(settled):  # some are gone, and the list has dropped them
            return await self.page(account, wanted, takes, paging)
        found = [KnownClip(record.request, record) for record in records.values()]
        return paging.apply([*found, *filter(takes, loose.values())], lambda k: _time(k, paging))

    async def in_work(self, account: str, event: str, start_ms: int, end_ms: int) -> bool:
        """Return whether a clip that has not ended needs a job's recording between two times (ms)."""
        working = sorted(set(get_args(VodState)) - ENDED)
        found = [await self.list.idents(account, Wanted({CLIP_STATE: state})) for state in working]
        records = await self.list.read(account, [ident for some in found for ident in some])
        known = {clip: KnownClip(record.request, record) for clip, record in records.items()} | await self._loose(
            account
        )
        parts = [part for one in known.values() if one.state not in ENDED for part in one.request.parts]
        zero_ms = await self._bounds.first_frame(account, event) or 0
        spans = [needed(part, zero_ms) for part in parts if part.event == event]
        return any(first < end_ms and last > start_ms for first, last in spans)

    async def ordered_with(self, account: str, event: str) -> list[ClipCreate]:
        """Return the clips that were ordered with a job, and wait for its end."""
        loose = await self._loose(account)
        idents = await self.list.idents(account, Wanted({CLIP_JOB: event, CLIP_STATE: "waiting_finish_live"}))
        records = await self.list.read(account, idents)
        known = {clip: KnownClip(record.request, record) for clip, record in records.items()} | loose
        waiting = [one for one in known.values() if one.request.event == event and one.request.after_live]
        return [one.request for one in waiting if one.state == "waiting_finish_live"]

    async def delete(self, account: str, clip: str) -> bool:
        """Request a clip's removal; return whether it is done already. NotFound, or StateConflict while in work."""
        known = await self.find(account, clip)
        if known.state not in ENDED:
            raise StateConflict(f"the clip is {known.state}: cancel it first")
        await self._outbox.emit(ClipDelete(account=account, clip=clip, at_ms=self._clock.now_ms()))
        return await soon(lambda: self._is_gone(f"{account}.{clip}"))

    async def cancel(self, account: str, clip: str) -> KnownClip:
        """Request the end of the work on a clip, and return the clip; NotFound, or StateConflict when it has ended."""
        known = await self.find(account, clip)
        if known.state in ENDED - {"cancelled"}:
            raise StateConflict(f"the clip is {known.state}")
        if known.state != "cancelled":
            await self._outbox.emit(ClipCancel(account=account, clip=clip, at_ms=self._clock.now_ms()))
        return await self.find(account, clip)

    async def _is_gone(self, key: str) -> bool:
        return await self._records.get(key) is None

    async def _loose(self, account: str) -> dict[str, KnownClip]:
        """Return the clips that no clipper has taken up, and those whose cancellations wait."""
        waiting, cancelling = await self._pending.all_of(account)
        known = await self.list.current(account)
        ids = [command.clip for command in waiting if command.clip in known] + sorted(cancelling)
        records = await self.list.read(account, [clip for clip in dict.fromkeys(ids) if clip in known])
        found = {c.clip: KnownClip(c, None, c.clip in cancelling) for c in waiting if c.clip not in records}
        return found | {clip: KnownClip(r.request, r, clip in cancelling) for clip, r in records.items()}


def _time(known: KnownClip, paging: Paging) -> Time:
    return (known.changed_ms if paging.sort == "modified_at" else known.created_ms), known.request.clip


def _needs_credentials(asked: NewClip) -> bool:
    return bool(asked.destinations) or any(one.credentials is not None for one in asked.receivers)
