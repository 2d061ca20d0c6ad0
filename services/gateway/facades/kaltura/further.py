"""The other actions: sessions, permissions, conversion profiles and flavors, Wowza's transcoder template."""

from __future__ import annotations

from typing import Any

from services.gateway.facades.kaltura import profiles
from services.gateway.facades.kaltura.action import Action, Context, RawXml, Table
from services.gateway.facades.kaltura.entries import Entries
from services.gateway.facades.kaltura.errors import KalturaError
from services.gateway.facades.kaltura.sessions import Sessions
from services.gateway.facades.kaltura.values import split
from services.gateway.facades.kaltura.views import listed

NEW_RECORDING = "FEATURE_LIVE_STREAM_KALTURA_RECORDING"
BLOCKED = 2


class Further:
    """What belongs to no entry, or only looks at one."""

    def __init__(self, sessions: Sessions, entries: Entries) -> None:
        self._sessions = sessions
        self._entries = entries

    def table(self) -> Table:
        """Return the actions."""
        template = Action(self.wowza, "anybody")
        return {
            ("session", "start"): Action(self.start, "anybody"),
            ("session", "end"): Action(self.end, "sessions", engines=True, alone=True),
            ("session", "get"): Action(self.session, "sessions", engines=True, alone=True),
            ("system", "ping"): Action(self.ping, "anybody"),
            ("permission", "get"): Action(self.permission, "admins", engines=True),
            ("conversionprofile", "get"): Action(self.profile, "admins", engines=True),
            ("conversionprofileassetparams", "list"): Action(self.asset_params, "admins", engines=True),
            ("flavorparams", "list"): Action(self.flavors, "admins", engines=True),
            ("flavorparams", "getbyconversionprofileid"): Action(self.flavors_of, "admins", engines=True),
            ("flavorasset", "list"): Action(self.assets, "users", engines=True),
            ("wowza_liveconversionprofile", "serve"): template,
            ("wowza_livestreamconversionprofile", "serve"): template,
        }  # fmt: skip

    async def start(self, context: Context) -> str:
        """Make a KS."""
        return await self._sessions.start(context.fields, context.stranger)

    async def end(self, context: Context) -> None:
        """End the KS of the call."""
        await self._sessions.end(context.caller)

    async def session(self, context: Context) -> Any:
        """Tell what the KS of the call says."""
        session = context.caller.session
        return {
            "objectType": "KalturaSessionInfo", "sessionType": session.kind, "partnerId": session.partner,
            "userId": session.user, "expiry": session.expiry_s, "privileges": session.privileges_text,
        }  # fmt: skip

    async def ping(self, context: Context) -> bool:
        """Tell that the server lives."""
        del context
        return True

    async def permission(self, context: Context) -> Any:
        """Return a permission; the newer way of recording is none, so that engines hand their chunks over."""
        name = context.fields.need("permissionName")
        if name != NEW_RECORDING:
            raise KalturaError("PERMISSION_NOT_FOUND", NAME=name)
        partner = context.caller.partner
        return {
            "objectType": "KalturaPermission", "id": 1, "type": 2, "name": name, "status": BLOCKED,
            "partnerId": partner,
        }  # fmt: skip

    async def profile(self, context: Context) -> Any:
        """Return a conversion profile."""
        return profiles.profile(context.fields.number("id", profiles.FIRST, 0, 2**31 - 1), context.caller.partner)

    async def asset_params(self, context: Context) -> Any:
        """Return the flavors of a conversion profile."""
        which = context.fields.inner("filter")
        number = which.number("conversionProfileIdEqual", profiles.FIRST, 0, 2**31 - 1)
        return listed("KalturaConversionProfileAssetParamsListResponse", [profiles.asset_params(number)])

    async def flavors(self, context: Context) -> Any:
        """Return flavors."""
        asked = context.fields.inner("filter").text("idIn") or str(profiles.SOURCE)
        shown = [profiles.flavor_params()] if str(profiles.SOURCE) in split(asked) else []
        return listed("KalturaFlavorParamsListResponse", shown)

    async def flavors_of(self, context: Context) -> Any:
        """Return the flavors of a conversion profile, as an array."""
        context.fields.need("conversionProfileId")
        return [profiles.flavor_params()]

    async def assets(self, context: Context) -> Any:
        """Return the live assets of an entry."""
        name = context.fields.inner("filter").need("entryIdEqual")
        entry = await self._entries.get(context.caller.account, name)
        made_s = entry.alias.created_ms // 1000
        shown = [profiles.flavor_asset(entry.id, entry.settings.partner, made_s)]
        return listed("KalturaFlavorAssetListResponse", shown)

    async def wowza(self, context: Context) -> RawXml:
        """Return Wowza's transcoder template for a stream."""
        name = profiles.entry_of_stream(context.fields.need("streamName"))
        return RawXml(profiles.wowza_template((await self._entries.anyones(name, context.stranger)).id))
