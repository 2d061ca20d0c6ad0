"""Runs the calls of a request one after the other, and answers each with a result or an exception."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from services.gateway.domain.quotas import Quotas
from services.gateway.facades.kaltura.action import Context, RawXml, Table, require
from services.gateway.facades.kaltura.calls import Call, asked_of, format_of, resolved
from services.gateway.facades.kaltura.errors import KalturaError, kaltura_error
from services.gateway.facades.kaltura.params import read_request
from services.gateway.facades.kaltura.render import TYPES, XML, render
from services.gateway.facades.kaltura.sessions import Sessions
from services.gateway.facades.kaltura.values import Fields
from shared.errors import Rejected, Unavailable
from shared.runtime.clock import Clock
from shared.runtime.logging import get_logger

log = get_logger()
_OWN_PARTNER: Final = frozenset({("session", "start")})
"""Actions whose partnerId is a parameter of their own."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A request as it came."""

    path: str
    query: str
    content_type: str
    body: bytes
    address: str


class Rpc:
    """The API behind its wire."""

    def __init__(self, table: Table, sessions: Sessions, quotas: Quotas, clock: Clock) -> None:
        self.table = table
        self._sessions = sessions
        self._quotas = quotas
        self._clock = clock

    async def answer(self, sent: Sent, available: Callable[[], None]) -> tuple[bytes, str]:
        """Return the answer to a request, and its type. `available` raises Unavailable while the broker is away."""
        began, form = self._clock.monotonic_ns(), XML
        try:
            params = read_request(sent.path, sent.query, sent.content_type, sent.body)
            form = _served(format_of(params))
            asked = asked_of(params)
            results: list[Any] = []
            for call in asked.calls:
                results.append(await self._result(call, results, sent.address, available))
            result = results if asked.multiple else results[0]
        except KalturaError as error:
            result = error
        if isinstance(result, RawXml):
            return result.encode(), "text/xml; charset=utf-8"
        return render(result, form, (self._clock.monotonic_ns() - began) / 1e9), TYPES[form]

    async def _result(self, call: Call, earlier: list[Any], address: str, available: Callable[[], None]) -> Any:
        try:
            available()
            return await self._run(Call(call.service, call.action, resolved(call.params, earlier)), address)
        except Rejected as error:
            return kaltura_error(error)
        except Unavailable as error:
            log.warning("request.unavailable", error=str(error))
            return kaltura_error(error)

    async def _run(self, call: Call, address: str) -> Any:
        action = self.table.get((call.service, call.action))
        if action is None:
            if not any(service == call.service for service, _ in self.table):
                raise KalturaError("SERVICE_DOES_NOT_EXISTS", SERVICE_NAME=call.service)
            if not call.action:
                raise KalturaError("ACTION_NOT_SPECIFIED")
            raise KalturaError("ACTION_DOES_NOT_EXISTS", ACTION_NAME=call.action, SERVICE_NAME=call.service)
        context = await self._context(call, address)
        require(action, context, call.service, call.action)
        return await action.run(context)

    async def _context(self, call: Call, address: str) -> Context:
        fields = Fields(call.params)

        def stranger() -> None:
            self._quotas.stranger(address)

        text = fields.text("ks")
        if not text:
            return Context(fields, None, stranger)
        partner = "" if (call.service, call.action) in _OWN_PARTNER else fields.text("partnerId", longest=32)
        caller = await self._sessions.caller(text, partner, address, stranger)
        self._quotas.request(caller.account)
        return Context(fields, caller, stranger)


def _served(form: str) -> str:
    if form not in TYPES:
        raise KalturaError("UNSUPPORTED_FORMAT", FORMAT=form)
    return form
