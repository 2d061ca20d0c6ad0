"""Lists of entries: filters and pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from services.gateway.facades.kaltura.entries import Entries, Entry
from services.gateway.facades.kaltura.errors import KalturaError
from services.gateway.facades.kaltura.records import PLAYABLE, Registration
from services.gateway.facades.kaltura.values import Fields, split

PAGE: Final = 30
LARGEST: Final = 500
_IGNORED: Final = frozenset({"objectType", "orderBy", "statusIn", "statusEqual", "typeEqual", "typeIn"})
"""All entries are ready live streams, and come the newest first."""
_ORDERS: Final = frozenset({"", "-createdAt"})


@dataclass(frozen=True, slots=True)
class Page:
    """A page of entries, and how many there are on all."""

    entries: Sequence[Entry]
    total: int


async def page_of(entries: Entries, account: str, registered: Sequence[Registration], asked: Fields) -> Page:
    """Return a page of an account's entries. KalturaError for a filter that is not served."""
    which, cut = asked.inner("filter"), _cut(asked)
    if which.text("orderBy") not in _ORDERS:
        raise KalturaError("PROPERTY_IS_NOT_DEFINED", PROP_NAME="orderBy", CLASS="KalturaLiveStreamEntryFilter")
    named = _named(which, registered)
    found = [alias for alias in await entries.all_of(account) if named is None or alias.name in named]
    if which.text("nameLike"):
        wanted = which.text("nameLike").lower()
        found = [alias for alias in found if wanted in entries.settings(alias).texts.get("name", "").lower()]
    if which.text("isLive"):
        live = which.flag("isLive")
        playable = {one.entry for one in registered if one.status == PLAYABLE}
        whole = await entries.many(found)
        found = [one.alias for one in whole if (one.publishes or one.id in playable) is live]
    return Page(await entries.many(found[cut]), len(found))


async def hosted_page(entries: Entries, registered: Sequence[Registration], asked: Fields) -> Page:
    """Return a page of the entries of registrations of all accounts; `isLive` is the one filter."""
    which, cut = asked.inner("filter"), _cut(asked)
    for name in which.names:
        if name not in _IGNORED | {"isLive", "hasMediaServerHostname"}:
            raise KalturaError("PROPERTY_IS_NOT_DEFINED", PROP_NAME=name, CLASS="KalturaLiveStreamEntryFilter")
    playable = {(one.account, one.entry) for one in registered if one.status == PLAYABLE}
    served = dict.fromkeys((one.account, one.entry) for one in registered)
    if which.text("isLive"):
        served = dict.fromkeys(one for one in served if (one in playable) is which.flag("isLive"))
    aliases = [await entries.aliases.find(account, entry) for account, entry in list(served)[cut]]
    return Page(await entries.many([alias for alias in aliases if alias is not None]), len(served))


def _cut(asked: Fields) -> slice:
    pager = asked.inner("pager")
    size, number = pager.number("pageSize", PAGE, 0, LARGEST), pager.number("pageIndex", 1, 0, 10**6)
    begin = (max(number, 1) - 1) * size
    return slice(begin, begin + size)


def _named(which: Fields, registered: Sequence[Registration]) -> frozenset[str] | None:
    """Return the ids that a filter leaves; None for all."""
    named: frozenset[str] | None = None
    for name in which.names:
        if name in {"idEqual", "idIn"}:
            ids = frozenset(split(which.text(name)))
        elif name == "hasMediaServerHostname":
            host = which.text(name).lower()
            ids = frozenset(one.entry for one in registered if one.host.lower() == host)
        elif name in _IGNORED or name in {"isLive", "nameLike"}:
            continue
        else:
            raise KalturaError("PROPERTY_IS_NOT_DEFINED", PROP_NAME=name, CLASS="KalturaLiveStreamEntryFilter")
        named = ids if named is None else named & ids
    return named
