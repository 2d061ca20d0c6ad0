"""The list of an account's streams: named ones, and live jobs of /v1 under their ids.

Settings are sealed: they are opened in threads, some streams at a time, so that a long list holds up nobody.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import Any, Final

from services.gateway.domain.errors import invalid
from services.gateway.domain.lists.lists import JOB_STATE
from services.gateway.domain.lists.orders import Wanted
from services.gateway.facades.flussonic.collection import Query, chosen, selected
from services.gateway.facades.flussonic.streams import Streams
from services.gateway.facades.flussonic.views import StreamViews
from services.gateway.http.public_url import PublicUrl
from services.gateway.identity.aliases import Alias
from services.gateway.identity.auth import Caller
from shared.messages.jobs import JobRecord

GOING: Final = ("standby", "waiting", "processing", "disconnected", "finishing", "cancelling")
MOST: Final = 10_000
"""How many streams are looked through for a filter or an order by anything but their names."""
BATCH: Final = 100


class Listing:
    """Lists streams. By name alone only the jobs of the page are read."""

    def __init__(self, streams: Streams, views: StreamViews, public: PublicUrl) -> None:
        self._streams = streams
        self._views = views
        self._public = public

    async def page(self, caller: Caller, query: Query) -> dict[str, Any]:
        """Return a page; Invalid."""
        named = await self._named(caller.account)
        names: list[dict[str, Any]] = [{"name": name} for name in named]
        if query.needs <= {"name"}:
            shown, total, around = chosen(names, query)
            items = await self._shown(caller, [named[one["name"]] for one in shown])
        else:
            if len(named) > MOST:
                raise invalid("sort", f"more than {MOST} streams can be sorted and filtered by name only")
            every = await self._shown(caller, list(named.values()))
            items, total, around = await asyncio.to_thread(chosen, every, query)
        return {
            "streams": [selected(item, query) for item in items],
            "estimated_count": total,
            **around,
            "timing": {},
            "server_id": self.server_id,
        }

    @property
    def server_id(self) -> str:
        """What identifies this installation: the same in all its gateways."""
        return str(uuid.uuid5(uuid.NAMESPACE_URL, self._public.base))

    async def every(self, account: str) -> list[tuple[str, JobRecord]]:
        """Return the names of all streams of an account whose job is there, and the job, by name."""
        named = await self._named(account)
        records = await self._streams.jobs.list.read(account, [_event(one) for one in named.values()])
        found = ((name, records.get(_event(one))) for name, one in sorted(named.items()))
        return [(name, job) for name, job in found if job is not None]

    async def _named(self, account: str) -> dict[str, Alias | str]:
        """Return each stream's alias, or the id of its job, by its name."""
        aliases = [alias for alias in await self._streams.aliases.all_of(account) if alias.made]
        jobs = self._streams.jobs.list
        going = [ident for state in GOING for ident in await jobs.idents(account, Wanted({JOB_STATE: state}))]
        taken = {event for alias in aliases for event in alias.events}
        found: dict[str, Alias | str] = {ident: ident for ident in going if ident not in taken}
        return found | {alias.name: alias for alias in aliases}

    async def _shown(self, caller: Caller, named: list[Alias | str]) -> list[dict[str, Any]]:
        records = await self._streams.jobs.list.read(caller.account, [_event(one) for one in named])
        paired = [(one, records.get(_event(one))) for one in named]
        shown: list[dict[str, Any]] = []
        for at in range(0, len(paired), BATCH):
            shown += await asyncio.to_thread(self._briefs, caller, paired[at : at + BATCH])
        return shown

    def _briefs(self, caller: Caller, paired: list[tuple[Alias | str, JobRecord | None]]) -> list[dict[str, Any]]:
        """Return the views of some streams; those of jobs without a name that are gone by now are left out."""
        found: list[dict[str, Any]] = []
        for one, job in paired:
            if isinstance(one, Alias):
                found.append(self._views.brief(caller, self._streams.of(one), job))
            elif job is not None:
                found.append(self._views.brief(caller, self._streams.of_job(job), job))
        return found


def _event(one: Alias | str) -> str:
    return one.event if isinstance(one, Alias) else one
