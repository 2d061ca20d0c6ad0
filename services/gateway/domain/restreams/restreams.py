"""Restreams: from a request to commands, and from records back to what a client sees."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from nats.js import JetStreamContext

from services.gateway.domain.errors import StateConflict, TooLarge, no_such
from services.gateway.domain.jobs.jobs import Jobs
from services.gateway.domain.lists.catalogue import AT_ONCE
from services.gateway.domain.lists.lists import RESTREAM_JOB, RESTREAM_STATE, restreams_list
from services.gateway.domain.lists.orders import Wanted
from services.gateway.domain.lists.pages import Page, Paging
from services.gateway.domain.quotas import Quotas, Tally
from services.gateway.domain.restreams.parts import Parts
from services.gateway.domain.restreams.pending import OVER, Pending, foreseen
from services.gateway.domain.subscriptions.contexts import Contexts
from shared.broker import buckets
from shared.broker.bus import Outbox
from shared.broker.kv import Bucket
from shared.broker.sizes import LARGEST_COMMAND
from shared.messages.restream_commands import Order, RestreamCommand, Verb
from shared.messages.restreams import PlayoutRecord, RestreamRecord, State
from shared.messages.subscriptions import SubscriptionContext
from shared.runtime.clock import Clock

PLAYS: Final[frozenset[Verb]] = frozenset({"pause", "skip", "seek"})


@dataclass(frozen=True, slots=True)
class KnownRestream:
    """A restream's record and playout; before a restreamer has taken it up, the record its first command leads to."""

    record: RestreamRecord
    playout: PlayoutRecord | None


class Restreams:
    """Orders restreams and finds them."""

    def __init__(
        self,
        jetstream: Callable[[], JetStreamContext],
        outbox: Outbox,
        jobs: Jobs,
        parts: Parts,
        contexts: Contexts,
        clock: Clock,
        quotas: Quotas,
    ) -> None:
        self.going = Tally(jetstream, buckets.RESTREAMS, OVER)
        self.list = restreams_list(jetstream)
        self._quotas = quotas
        self._outbox = outbox
        self._jobs = jobs
        self._clock = clock
        self.parts = parts
        self.contexts = contexts
        self._pending = Pending(jetstream)
        self._records = Bucket(jetstream, buckets.RESTREAMS, RestreamRecord)
        self._playouts = Bucket(jetstream, buckets.PLAYOUTS, PlayoutRecord)

    def now_ms(self) -> int:
        """Return the current time, ms since the epoch; it is the time stamp of commands."""
        return self._clock.now_ms()

    def command(self, account: str, restream: str, order: Order, command: str = "") -> RestreamCommand:
        """Return a command with the id `command` or a new one. Raise TooLarge when its list is too long."""
        made = RestreamCommand(
            account=account,
            restream=restream,
            command=command or uuid.uuid4().hex,
            at_ms=self._clock.now_ms(),
            order=order,
        )
        if len(made.model_dump_json()) > LARGEST_COMMAND:
            raise TooLarge("the list is too long; use fewer or shorter URLs")
        return made

    async def order(self, *commands: RestreamCommand, contexts: Sequence[SubscriptionContext] = ()) -> None:
        """Publish commands of one account in order, after the contexts that they name are stored.

        Raise NotFound when one names a job that does not exist, TooMany, Unavailable.
        """
        begun = [command.restream for command in commands if command.verb in {"start", "resume"}]
        account = commands[0].account
        for command in commands:
            if command.playlist and command.playlist.live:
                await self._jobs.get(account, command.playlist.live.event)
        async with self._quotas.room(account, "restreams", partial(self._going, account), begun):
            await self.contexts.keep(*contexts)
            for command in commands:
                await self._outbox.emit(command)

    async def obey(self, account: str, restream: str, order: Order, command: str) -> KnownRestream:
        """Publish an order for an existing restream, and return the restream as it was before.

        A stop of one that is over does nothing. Raise NotFound; StateConflict when its state forbids the order.
        """
        known = await self.find(account, restream)
        state, verb = known.record.state, order.verb
        if state in OVER and verb == "stop":
            return known
        if (state in OVER and verb != "resume") or (state == "scheduled" and verb in PLAYS):
            raise StateConflict(f"the restream is {state}")
        await self.order(self.command(account, restream, order, command))
        return known

    async def contexts_named(self, account: str, restreams: Collection[str]) -> frozenset[str]:
        """Return the contexts that restreams, or pending commands about them, name. Raise Unavailable."""
        waiting = await self._pending.all_of(account)  # read before the records, because commands end up there
        records = await self.list.read(account, sorted(restreams))
        found = [record.spec.subscription for record in records.values()]
        found += [command.subscription for commands in waiting.values() for command in commands]
        return frozenset(name for subscription in found if subscription for name in subscription.named)

    async def _going(self, account: str) -> frozenset[str]:
        """Return the restreams that are not over, or have a pending command."""
        return await self.going.of(account) | await self._pending.named(account)

    async def find(self, account: str, restream: str) -> KnownRestream:
        """Return an account's restream. Raise NotFound."""
        key = f"{account}.{restream}"
        waiting = await self._pending.of(account, restream)
        stored = await self._records.get(key)
        record = foreseen(stored.value if stored else None, waiting)
        if record is None:
            raise no_such("restream")
        playout = await self._playouts.get(key)
        return _known(record, playout.value if playout else None)

    async def of_job(self, account: str, job: str) -> list[KnownRestream]:
        """Return the restreams that send a live job on, the oldest first. Raise Unavailable."""
        waiting = await self._pending.all_of(account)
        idents = await self.list.idents(account, Wanted({RESTREAM_JOB: job}))
        records = await self.list.read(account, [*idents, *(name for name in waiting if name not in idents)])
        records |= {
            name: record
            for name, commands in waiting.items()
            if (record := foreseen(records.get(name), commands)) is not None
        }
        found = [one for one in records.values() if one.spec.output and one.spec.output.job == job]
        found.sort(key=lambda one: (one.created_ms, one.restream))
        return await self._with_places(account, found)

    async def page(self, account: str, state: State | None, paging: Paging) -> Page[KnownRestream]:
        """Return a page of an account's restreams, in order, including those that are known from pending commands only.

        Reads the records on the page, and those with pending commands.
        """
        waiting = await self._pending.all_of(account)
        wanted = Wanted({RESTREAM_STATE: state} if state else {})
        entries = await self.list.find(account, wanted, paging, paging.page_size + 1 + len(waiting))
        settled = [entry.ident for entry in entries if entry.ident not in waiting][: paging.page_size + 1]
        records = await self.list.read(account, [*settled, *waiting])
        if any(ident not in records for ident in settled):  # some were deleted meanwhile
            return await self.page(account, state, paging)
        loose = (foreseen(records.get(name), commands) for name, commands in waiting.items())
        found = [records[ident] for ident in settled]
        found += [record for record in loose if record and state in {None, record.state}]
        page = paging.apply(found, lambda record: (_time(record, paging), record.restream))
        return Page(await self._with_places(account, page.items), page.next_token)

    async def _with_places(self, account: str, records: list[RestreamRecord]) -> list[KnownRestream]:
        known: list[KnownRestream] = []
        for start in range(0, len(records), AT_ONCE):
            some = records[start : start + AT_ONCE]
            playouts = await asyncio.gather(*(self._playouts.get(f"{account}.{record.restream}") for record in some))
            known += [
                _known(record, stored.value if stored else None) for record, stored in zip(some, playouts, strict=True)
            ]
        return known


def _time(record: RestreamRecord, paging: Paging) -> int:
    return max(record.changed_ms, record.created_ms) if paging.sort == "modified_at" else record.created_ms


def _known(record: RestreamRecord, playout: PlayoutRecord | None) -> KnownRestream:
    return KnownRestream(record, playout if playout and playout.run == record.run else None)
