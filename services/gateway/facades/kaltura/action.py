"""An action of the API: who may call it, and what it is given."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from services.gateway.facades.kaltura import ks
from services.gateway.facades.kaltura.errors import KalturaError
from services.gateway.facades.kaltura.sessions import Caller
from services.gateway.facades.kaltura.values import Fields

Who = Literal["anybody", "sessions", "users", "admins"]
"""Who may call: without a KS, with any, with one of a user or an administrator, with an administrator's."""
_KINDS: Final = {
    "anybody": {ks.WIDGET, ks.USER, ks.ADMIN}, "sessions": {ks.WIDGET, ks.USER, ks.ADMIN},
    "users": {ks.USER, ks.ADMIN}, "admins": {ks.ADMIN},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Context:
    """A call's parameters, and who calls; without a KS nobody."""

    fields: Fields
    someone: Caller | None
    stranger: Callable[[], None]

    @property
    def caller(self) -> Caller:
        """Who calls; MISSING_KS."""
        if self.someone is None:
            raise KalturaError("MISSING_KS")
        return self.someone


class Action(NamedTuple):
    """What runs, who may call it, and whether media servers may do so for other partners, or without naming one."""

    run: Callable[[Context], Awaitable[Any]]
    who: Who
    engines: bool = False
    alone: bool = False


Table = dict[tuple[str, str], Action]


class RawXml(str):
    """A result that is the whole answer."""

    __slots__ = ()


def require(action: Action, context: Context, service: str, name: str) -> None:
    """Raise KalturaError when a caller may not call an action."""
    if action.who == "anybody" and context.someone is None:
        return
    caller = context.caller
    allowed = caller.session.kind in _KINDS[action.who]
    if caller.is_engine and action.who != "anybody":
        allowed = allowed and action.engines and (caller.chosen or action.alone)
    if not allowed:
        raise KalturaError("SERVICE_FORBIDDEN", SERVICE=service, ACTION=name)
