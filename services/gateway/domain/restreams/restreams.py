"""Restreams: from a request to commands, and from records back to what a client sees."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any, Final

from nats.js import JetStreamContext

from services.gateway.domain.jobs.jobs import Jobs
from services.gateway.domain.lists.catalogue import AT_ONCE
from services.gateway.domain.lists.lists import RESTREAM_STATE, restreams_list
from services.gateway.domain.lists.orders import Wanted
from services.gateway.domain.quotas import Quotas, Tally
from services.gateway.domain.restreams.parts import Parts, file_range, wall_range
from services.gateway.domain.restreams.pending import OVER, Pending, foreseen
from services.gateway.http.paging import Page, Paging
from services.gateway.http.problems import ApiError, bad_field, not_found
from services.gateway.native.restreams.models import RATE, EncodingAsk, RangeAsk, RestreamCreate, SourceAsk
from shared.bus import Outbox
from shared.clock import Clock
from shared.kv import Bucket
from shared.messages.restreams import (
    Encoding,
    Item,
    LiveInsert,
    PlaceRecord,
    Range,
    RestreamCommand,
    RestreamRecord,
    RestreamSpec,
    State,
    Verb,
    Watermark,
)
from shared.secrets import Vault
from shared.settings import Settings

_RATE: Final = re.compile(RATE, re.ASCII)
LARGEST_COMMAND: Final = 700_000  # below the broker's max_payload of 1 MiB, and the record repeats it


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a restream; before a restreamer has taken it up, only its first command."""

    record: RestreamRecord
    place: PlaceRecord | None


class Restreams:
    """Orders restreams and finds them."""

    def __init__(
        self,
        jetstream: Callable[[], JetStreamContext],
        outbox: Outbox,
        jobs: Jobs,
        vault: Vault,
        settings: Settings,
        clock: Clock,
        quotas: Quotas,
    ) -> None:
        self.going = Tally(jetstream, "restreams", OVER)
        self.list = restreams_list(jetstream)
        self._quotas = quotas
        self._outbox = outbox
        self._jobs = jobs
        self._clock = clock
        self.parts = Parts(vault, settings)
        self._pending = Pending(jetstream)
        self._records = Bucket(jetstream, "restreams", RestreamRecord)
        self._places = Bucket(jetstream, "places", PlaceRecord)

    async def spec_of(self, account: str, asked: RestreamCreate) -> RestreamSpec:
        """Check a request and give what it asks for; ApiError 400 or 404."""
        now = self._clock.now_ms()
        if asked.end_time is not None and asked.end_time <= max(now, asked.start_time or 0):
            raise bad_field("end_time", "must lie in the future, and after start_time")
        live = None
        if asked.live:
            await self._jobs.get(account, asked.live.job_id)
            live = LiveInsert(event=asked.live.job_id, back=asked.live.back)
        named = [(f"targets[{n}].url", t.url) for n, t in enumerate(asked.targets)]
        return RestreamSpec(
            name=asked.name,
            items=self.items(asked.sources),
            targets=self.parts.targets(named),
            loops=asked.loop,
            first=first_of(asked.index, len(asked.sources)),
            start_ms=asked.start_time,
            end_ms=asked.end_time,
            encoding=_encoding(asked.encoding) if asked.encoding else None,
            live=live,
            tries=asked.retries,
        )

    def items(self, sources: list[SourceAsk]) -> tuple[Item, ...]:
        """Check a list of files; ApiError 400."""
        return tuple(self._item(f"sources[{number}]", source) for number, source in enumerate(sources))

    def _item(self, field: str, asked: SourceAsk) -> Item:
        mark = asked.watermark
        return Item(
            source=self.parts.source(f"{field}.url", asked.url, asked.credentials),
            ranges=tuple(_range(f"{field}.ranges[{n}]", r) for n, r in enumerate(asked.ranges)),
            watermark=mark
            and Watermark(
                source=self.parts.source(f"{field}.watermark.url", mark.url, mark.credentials),
                corner=mark.position,
                margin=mark.margin,
                scale=mark.scale,
                opacity=mark.opacity,
            ),
        )

    def command(self, account: str, restream: str, verb: Verb, **fields: Any) -> RestreamCommand:
        """Make a command; ApiError 413 when its list is too long to travel."""
        made = RestreamCommand(
            account=account,
            restream=restream,
            command=fields.pop("command", None) or uuid.uuid4().hex,
            verb=verb,
            at_ms=self._clock.now_ms(),
            **fields,
        )
        if made.spec is not None and len(made.model_dump_json()) > LARGEST_COMMAND:
            raise ApiError(413, "the list is too long; use fewer or shorter URLs")
        return made

    async def order(self, *commands: RestreamCommand) -> None:
        """Publish commands of one account, one after the other: their order counts. Unavailable, ApiError 429."""
        begun = [command.restream for command in commands if command.verb in {"start", "resume"}]
        account = commands[0].account
        async with self._quotas.room(account, "restreams", partial(self._going, account), begun):
            for command in commands:
                await self._outbox.emit(command)

    async def _going(self, account: str) -> frozenset[str]:
        """Give the restreams that are not over, or about which a command waits."""
        return await self.going.of(account) | await self._pending.named(account)

    async def find(self, account: str, restream: str) -> Known:
        """Find an account's restream; ApiError 404."""
        key = f"{account}.{restream}"
        waiting = await self._pending.of(account, restream)
        stored = await self._records.get(key)
        record = foreseen(stored.value if stored else None, waiting)
        if record is None:
            raise not_found("restream")
        place = await self._places.get(key)
        return _known(record, place.value if place else None)

    async def page(self, account: str, state: State | None, paging: Paging) -> Page[Known]:
        """Give a page of an account's restreams: those in order, and among them the few that have commands waiting.

        Reads the records that it shows, and those about which commands wait.
        """
        waiting = await self._pending.all_of(account)
        wanted = Wanted({RESTREAM_STATE: state} if state else {})
        entries = await self.list.find(account, wanted, paging, paging.page_size + 1 + len(waiting))
        settled = [entry.ident for entry in entries if entry.ident not in waiting][: paging.page_size + 1]
        records = await self.list.read(account, [*settled, *waiting])
        if any(ident not in records for ident in settled):  # some are gone, and forgotten by now
            return await self.page(account, state, paging)
        loose = (foreseen(records.get(name), commands) for name, commands in waiting.items())
        found = [records[ident] for ident in settled]
        found += [record for record in loose if record and state in {None, record.state}]
        page = paging.apply(found, lambda record: (_time(record, paging), record.restream))
        return Page(await self._with_places(account, page.items), page.next_token)

    async def _with_places(self, account: str, records: list[RestreamRecord]) -> list[Known]:
        known: list[Known] = []
        for start in range(0, len(records), AT_ONCE):
            some = records[start : start + AT_ONCE]
            places = await asyncio.gather(*(self._places.get(f"{account}.{record.restream}") for record in some))
            known += [
                _known(record, place.value if place else None) for record, place in zip(some, places, strict=True)
            ]
        return known


def _time(record: RestreamRecord, paging: Paging) -> int:
    return max(record.changed_ms, record.created_ms) if paging.sort == "modified_at" else record.created_ms


def _known(record: RestreamRecord, place: PlaceRecord | None) -> Known:
    return Known(record, place if place and place.run == record.run else None)


def first_of(index: int, count: int, field: str = "index") -> int:
    """Give the 0-based item; ApiError 400 when the list is shorter."""
    if index > count:
        raise bad_field(field, f"the list has {count} file{'s' if count > 1 else ''}")
    return index - 1


def _range(field: str, asked: RangeAsk) -> Range:
    if asked.wall_start is None and asked.wall_end is None:
        return file_range(field, asked.start or Fraction(0), asked.end)
    if asked.start is not None or asked.end is not None:
        raise bad_field(field, "is either start and end, or wall_start and wall_end")
    if asked.wall_start is None or asked.wall_end is None:
        raise bad_field(field, "needs wall_start and wall_end")
    return wall_range(field, asked.wall_start, asked.wall_end)


def frame_rate(field: str, text: str) -> Fraction:
    """Read frames per second, 29.97 and its like as the exact rate they stand for; ApiError 400."""
    text = text.replace(" ", "")
    try:
        rate = Fraction(text) if _RATE.fullmatch(text) else Fraction(0)
    except ZeroDivisionError:
        rate = Fraction(0)
    ntsc = Fraction(round(rate * Fraction(1001, 1000)) * 1000, 1001)
    if rate.denominator != 1 and abs(rate - ntsc) < Fraction(1, 100):
        rate = ntsc
    rate = rate.limit_denominator(1001)
    if not 1 <= rate <= 240:
        raise bad_field(field, "must be from 1 to 240 frames per second, as 25, 29.97 or 30000/1001")
    return rate


def _encoding(asked: EncodingAsk) -> Encoding:
    rate = frame_rate("encoding.frame_rate", asked.frame_rate) if asked.frame_rate else None
    return Encoding(
        video=asked.video_codec,
        audio=asked.audio_codec,
        kbps=asked.kbps,
        width=asked.width,
        height=asked.height,
        rate_num=rate.numerator if rate else None,
        rate_den=rate.denominator if rate else 1,
    )
