"""The actions of liveStream that clients call: entries are made, found, changed and deleted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from cachetools import TTLCache

from services.gateway.facades.kaltura.action import Action, Context, Table
from services.gateway.facades.kaltura.entries import Entries, Entry
from services.gateway.facades.kaltura.entry_fields import SOURCE_TYPES, Settings, changed, changes_of, require_unlocked
from services.gateway.facades.kaltura.errors import KalturaError
from services.gateway.facades.kaltura.listing import Page, hosted_page, page_of
from services.gateway.facades.kaltura.records import Registration
from services.gateway.facades.kaltura.registrations import Registrations
from services.gateway.facades.kaltura.views import Views, hides, is_live, listed
from shared.runtime.clock import Clock

KEPT_S: Final = 1.0
"""So long an answer to everybody is kept: players ask all the time."""
KEPT: Final = 4096


class LiveStream:
    """Entries, as clients see them."""

    def __init__(self, entries: Entries, registrations: Registrations, views: Views, clock: Clock) -> None:
        self._entries = entries
        self._registrations = registrations
        self._views = views
        self._live: TTLCache[str, bool] = TTLCache(KEPT, KEPT_S, lambda: clock.monotonic_ns() / 1e9)

    def table(self) -> Table:
        """Return the actions."""
        own = {
            "add": Action(self.add, "admins"), "update": Action(self.update, "admins"),
            "delete": Action(self.delete, "admins"), "regeneratestreamtoken": Action(self.renew, "admins"),
            "get": Action(self.get, "sessions", engines=True), "islive": Action(self.is_live, "anybody"),
            "list": Action(self.list, "users", engines=True, alone=True),
            "getdetails": Action(self.details, "sessions", engines=True),
        }  # fmt: skip
        return {("livestream", name): action for name, action in own.items()}

    async def add(self, context: Context) -> Any:
        """Make an entry."""
        source = context.fields.text("sourceType") or SOURCE_TYPES[0]
        if source not in SOURCE_TYPES:
            raise KalturaError("INVALID_ENUM_VALUE", VALUE=source, PARAM_NAME="sourceType", ENUM="KalturaSourceType")
        if "liveStreamEntry" not in context.fields:
            raise KalturaError("MISSING_MANDATORY_PARAMETER", PARAM_NAME="liveStreamEntry")
        bare = Settings(partner=context.caller.partner, source_type=source)
        settings = changed(bare, changes_of(context.fields.inner("liveStreamEntry")))
        return await self.shown(context, await self._entries.add(context.caller.account, settings))

    async def update(self, context: Context) -> Any:
        """Change an entry."""
        entry = await self._entries.get(context.caller.account, context.fields.need("entryId"))
        changes = changes_of(context.fields.inner("liveStreamEntry"))
        live = is_live(entry, await self._registrations.of(entry.account, entry.id))

        def check(before: Settings, after: Settings) -> None:
            if live:
                require_unlocked(before, after)

        return await self.shown(context, await self._entries.update(entry.account, entry.id, changes, check))

    async def delete(self, context: Context) -> None:
        """Delete an entry; its recording stays."""
        entry = context.fields.need("entryId")
        await self._entries.delete(context.caller.account, entry)
        await self._registrations.forget(context.caller.account, entry, stale_only=False)

    async def renew(self, context: Context) -> Any:
        """Give an entry another token."""
        entry = await self._entries.get(context.caller.account, context.fields.need("entryId"))
        await self._entries.renew_token(entry)
        return await self.shown(context, entry)

    async def get(self, context: Context) -> Any:
        """Return an entry."""
        return await self.shown(
            context, await self._entries.get(context.caller.account, context.fields.need("entryId"))
        )

    async def list(self, context: Context) -> Any:
        """Return a page of entries, the newest first."""
        caller = context.caller
        if not caller.chosen:
            return await self._hosted(context)
        registered = await self._registrations.all_of(caller.account)
        page = await page_of(self._entries, caller.account, registered, context.fields)
        return await self._listed(context, page, registered)

    async def _hosted(self, context: Context) -> Any:
        """Return the entries of all partners that a host of the media servers serves: it is asked after its restart."""
        if not context.caller.is_admin:
            raise KalturaError("SERVICE_FORBIDDEN", SERVICE="livestream", ACTION="list")
        host = context.fields.inner("filter").need("hasMediaServerHostname")
        registered = await self._registrations.hosted(host, context.caller.own)
        return await self._listed(context, await hosted_page(self._entries, registered, context.fields), registered)

    async def _listed(self, context: Context, page: Page, registered: Sequence[Registration]) -> Any:
        shown = []
        for entry in page.entries:
            found = {one.index: one for one in registered if one.entry == entry.id}
            shown.append(self._views.entry(entry, found, await self._token(context, entry)))
        return listed("KalturaLiveStreamListResponse", shown, page.total)

    async def details(self, context: Context) -> Any:
        """Return whether and how an entry is live."""
        entry = await self._entries.get(context.caller.account, context.fields.need("id"))
        return self._views.details(entry, await self._registrations.of(entry.account, entry.id))

    async def is_live(self, context: Context) -> bool:
        """Return whether an entry is live; anybody may ask about any entry."""
        name, insider = context.fields.need("id"), context.someone is not None and context.someone.is_admin
        if not insider and name in self._live:
            return self._live[name]
        try:
            entry = await self._entries.anyones(name, context.stranger)
        except KalturaError as error:
            raise KalturaError("INVALID_ENTRY_ID", ENTRY_ID=name) from error
        live = is_live(entry, await self._registrations.of(entry.account, entry.id))
        if insider and context.caller.account == entry.account:
            return live
        self._live[name] = live and not hides(entry)
        return self._live[name]

    async def shown(self, context: Context, entry: Entry) -> dict[str, Any]:
        """Return an entry as a caller may see it."""
        found = await self._registrations.of(entry.account, entry.id)
        return self._views.entry(entry, found, await self._token(context, entry))

    async def _token(self, context: Context, entry: Entry) -> str | None:
        return await self._entries.token(entry) if context.caller.is_admin else None
