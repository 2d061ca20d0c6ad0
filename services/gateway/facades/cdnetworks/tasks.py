"""Orders the tasks of a call, and reports the ids of unknown ones."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from services.gateway.domain.errors import NotFound, invalid
from services.gateway.domain.receivers import Receivers
from services.gateway.domain.restreams.restreams import Restreams
from services.gateway.facades.cdnetworks.models import ForwardRequest
from services.gateway.facades.cdnetworks.translate import Ordered, Translator
from services.gateway.http.bodies import Malformed, parse_json, plain
from services.gateway.http.problems import faults_of


class Tasks:
    """Orders restreams as the CDNetworks API asks for them."""

    def __init__(self, restreams: Restreams, receivers: Receivers) -> None:
        self._restreams = restreams
        self._receivers = receivers

    def now_ms(self) -> int:
        """Return the current time, ms since the epoch."""
        return self._restreams.now_ms()

    async def obey(self, account: str, body: bytes) -> list[str]:
        """Order the tasks of a call, and return a text for each that does not exist.

        Raise Invalid when none exists; NotFound, TooMany, TooLarge.
        """
        raw = _read(body)
        asked = _model(raw)
        restreams = self._restreams
        translator = Translator(
            account, restreams.parts, restreams.contexts, self._receivers, restreams.command, self.now_ms()
        )
        orders = translator.orders(asked, raw)
        known: list[Ordered] = []
        unknown: list[str] = []
        for position, (order, task) in enumerate(zip(orders, asked.list, strict=True)):
            command = order.command
            if command.verb in {"stop", "update"} and not await self._is_known(account, command.restream):
                which = f": {task.id}" if len(orders) > 1 else ""
                unknown.append(f"list[{position}].id: there is no such task{which}")
                continue
            known.append(order)
        if not known:
            raise invalid("", "; ".join(unknown))
        contexts = [order.context for order in known if order.context]
        await restreams.order(*(order.command for order in known), contexts=contexts)
        return unknown

    async def _is_known(self, account: str, restream: str) -> bool:
        try:
            await self._restreams.find(account, restream)
        except NotFound:
            return False
        return True


def _read(body: bytes) -> dict[str, Any]:
    try:
        raw = plain(parse_json(body))
    except Malformed as error:
        raise invalid("", str(error)) from error
    if not isinstance(raw, dict):
        raise invalid("", "the body must be a JSON object")
    return raw


def _model(raw: dict[str, Any]) -> ForwardRequest:
    try:
        return ForwardRequest.model_validate(raw)
    except ValidationError as error:
        raise faults_of(error.errors(include_url=False, include_input=False)) from error
