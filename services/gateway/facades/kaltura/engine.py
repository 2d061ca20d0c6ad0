"""The actions that media servers call: they authenticate encoders, register entries, and report themselves."""

from __future__ import annotations

from typing import Any

from services.gateway.facades.kaltura.action import Action, Context, Table
from services.gateway.facades.kaltura.entries import Entries, Entry
from services.gateway.facades.kaltura.errors import KalturaError
from services.gateway.facades.kaltura.nodes import LONGEST_HOST, Nodes
from services.gateway.facades.kaltura.records import AUTHENTICATED, BROADCASTING, INDEXES, PLAYABLE, Registration
from services.gateway.facades.kaltura.registrations import Registrations
from services.gateway.facades.kaltura.values import Fields, split
from services.gateway.facades.kaltura.views import Views, entry_node, listed, media_server, server_node

STATUSES = range(-1, 10)


class Engine:
    """What media servers ask and tell."""

    def __init__(self, entries: Entries, registrations: Registrations, nodes: Nodes, views: Views) -> None:
        self._entries = entries
        self._registrations = registrations
        self._nodes = nodes
        self._views = views

    def table(self) -> Table:
        """Return the actions."""
        live = {
            "authenticate": self.authenticate, "registermediaserver": self.register,
            "unregistermediaserver": self.unregister, "validateregisteredmediaservers": self.validate,
        }  # fmt: skip
        nodes = {"get": self.node, "list": self.nodes, "update": self.update, "updatestatus": self.update_status}
        hosts = {
            ("servernode", "reportstatus"): self.report, ("servernode", "list"): self.hosts,
            ("mediaserver", "reportstatus"): self.report_old, ("mediaserver", "get"): self.host_old,
        }  # fmt: skip
        found = {("livestream", name): Action(run, "admins", engines=True) for name, run in live.items()}
        found |= {("entryservernode", name): Action(run, "admins", engines=True) for name, run in nodes.items()}
        return found | {key: Action(run, "admins", engines=True, alone=True) for key, run in hosts.items()}

    async def authenticate(self, context: Context) -> Any:
        """Return an entry for whose encoder this is the token; its server is noted when it says who it is."""
        fields = context.fields
        entry, token = await self._entry(context), fields.need("token")
        if not await self._entries.is_token(entry, token):
            raise KalturaError("LIVE_STREAM_INVALID_TOKEN", ENTRY_ID=entry.id)
        if entry.publishes:
            raise KalturaError("LIVE_STREAM_ALREADY_BROADCASTING", ENTRY_ID=entry.id, HOST="this server")
        if fields.text("hostname") and fields.text("mediaServerIndex"):
            there = (await self._registrations.of(entry.account, entry.id)).get(_index(fields))
            if there is None or there.host != fields.text("hostname"):
                await self._registrations.put(entry, await self._asked(context, entry, AUTHENTICATED))
        return await self._shown(context, entry)

    async def register(self, context: Context) -> Any:
        """Record that a server has an entry live, for two minutes."""
        entry = await self._entry(context)
        status = context.fields.choice(
            "liveEntryStatus", PLAYABLE, "KalturaEntryServerNodeStatus", {PLAYABLE, BROADCASTING}
        )
        if entry.publishes:
            raise KalturaError("LIVE_STREAM_ALREADY_BROADCASTING", ENTRY_ID=entry.id, HOST="this server")
        await self._registrations.put(entry, await self._asked(context, entry, status))
        return await self._shown(context, entry)

    async def unregister(self, context: Context) -> Any:
        """Record that a server has an entry no more."""
        entry, host = await self._entry(context), context.fields.need("hostname")
        index = _index(context.fields)
        if await self._nodes.find(context.caller.own, host) is None:
            raise KalturaError("MEDIA_SERVER_NOT_FOUND", HOST=host)
        await self._registrations.remove(entry.account, entry.id, index, host)
        return await self._shown(context, entry)

    async def validate(self, context: Context) -> None:
        """Drop an entry's registrations that are over."""
        entry = await self._entry(context)
        await self._registrations.forget(entry.account, entry.id, stale_only=True)

    async def node(self, context: Context) -> Any:
        """Return a registration."""
        return entry_node(await self._registration(context), context.caller.partner)

    async def nodes(self, context: Context) -> Any:
        """Return registrations."""
        which = context.fields.inner("filter")
        found = await self._registrations.all_of(context.caller.account)
        for name in which.names:
            wanted = set(split(which.text(name)))
            if name in {"entryIdEqual", "entryIdIn"}:
                found = [one for one in found if one.entry in wanted]
            elif name in {"serverTypeEqual", "serverTypeIn"}:
                found = [one for one in found if one.index in wanted]
            elif name in {"statusEqual", "statusIn"}:
                found = [one for one in found if str(one.status) in wanted]
            elif name not in {"objectType", "orderBy"}:
                raise KalturaError("PROPERTY_IS_NOT_DEFINED", PROP_NAME=name, CLASS="KalturaEntryServerNodeFilter")
        shown = [entry_node(one, context.caller.partner) for one in found]
        return listed("KalturaEntryServerNodeListResponse", _page(shown, context.fields), len(shown))

    async def update(self, context: Context) -> Any:
        """Return a registration; what engines say of streams and recordings is not kept."""
        return await self.node(context)

    async def update_status(self, context: Context) -> Any:
        """Set the status of a registration."""
        status = context.fields.choice("status", PLAYABLE, "KalturaEntryServerNodeStatus", STATUSES)
        found = await self._registrations.update(await self._registration(context), status)
        return entry_node(found, context.caller.partner)

    async def report(self, context: Context) -> Any:
        """Record that a host lives; an unknown one is added when it is described."""
        fields = context.fields
        status = fields.choice("serverNodeStatus", 1, "KalturaServerNodeStatus", range(1, 6))
        described = fields.inner("serverNode") if "serverNode" in fields else None
        return server_node(await self._nodes.report(context.caller.own, _host(fields, "hostName"), described, status))

    async def hosts(self, context: Context) -> Any:
        """Return the partner's hosts."""
        which = context.fields.inner("filter")
        found = await self._nodes.all_of(context.caller.own)
        for name in which.names:
            text = which.text(name).lower()
            if name == "hostNameLike":
                found = [node for node in found if text in node.host.lower()]
            elif name not in {"objectType", "orderBy"}:
                raise KalturaError("PROPERTY_IS_NOT_DEFINED", PROP_NAME=name, CLASS="KalturaServerNodeFilter")
        shown = [server_node(node) for node in found]
        return listed("KalturaServerNodeListResponse", _page(shown, context.fields), len(shown))

    async def report_old(self, context: Context) -> Any:
        """Record that a host lives, as older engines tell it; an unknown one is added."""
        fields = context.fields
        return media_server(await self._nodes.report(context.caller.own, _host(fields, "hostname"), Fields({}), 1))

    async def host_old(self, context: Context) -> Any:
        """Return a host, as older engines know it."""
        host = context.fields.need("hostname")
        node = await self._nodes.find(context.caller.own, host)
        if node is None:
            raise KalturaError("MEDIA_SERVER_NOT_FOUND", HOST=host)
        return media_server(node)

    async def _entry(self, context: Context) -> Entry:
        return await self._entries.get(context.caller.account, context.fields.need("entryId"))

    async def _asked(self, context: Context, entry: Entry, status: int) -> Registration:
        fields, host = context.fields, _host(context.fields, "hostname")
        node = await self._nodes.find(context.caller.own, host)
        if node is None:
            raise KalturaError("MEDIA_SERVER_NOT_FOUND", HOST=host)
        return Registration(
            account=entry.account, entry=entry.id, index=_index(fields), host=host, owner=node.partner,
            application=fields.text("applicationName", longest=256), status=status, since_ms=0, at_ms=0,
        )  # fmt: skip

    async def _registration(self, context: Context) -> Registration:
        number = context.fields.need("id")
        for one in await self._registrations.all_of(context.caller.account):
            if str(one.id) == number:
                return one
        raise KalturaError("ENTRY_SERVER_NODE_NOT_FOUND", ID=number)

    async def _shown(self, context: Context, entry: Entry) -> dict[str, Any]:
        found = await self._registrations.of(entry.account, entry.id)
        return self._views.entry(entry, found, await self._entries.token(entry) if context.caller.is_admin else None)


def _index(fields: Fields) -> str:
    text = fields.need("mediaServerIndex")
    if text not in INDEXES:
        raise KalturaError(
            "INVALID_ENUM_VALUE", VALUE=text, PARAM_NAME="mediaServerIndex", ENUM="KalturaEntryServerNodeType"
        )
    return text


def _host(fields: Fields, name: str) -> str:
    host = fields.need(name)
    if len(host) > LONGEST_HOST:
        raise KalturaError("PROPERTY_VALIDATION_MAX_LENGTH", PROP_NAME=name, MAX_LENGTH=str(LONGEST_HOST))
    return host


def _page(shown: list[dict[str, Any]], fields: Fields) -> list[dict[str, Any]]:
    pager = fields.inner("pager")
    size, number = pager.number("pageSize", 30, 0, 500), pager.number("pageIndex", 1, 0, 10**6)
    begin = (max(number, 1) - 1) * size
    return shown[begin : begin + size]
