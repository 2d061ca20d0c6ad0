"""The exporter's handlers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from services.exporter.deliver import Deliverer
from shared.errors import DestinationFailed, Permanent
from shared.messages.exports import ExportDeliver


def make_deliver(deliverer: Deliverer) -> Callable[[ExportDeliver], Awaitable[None]]:
    """Make the handler of `exports.deliver`."""

    async def deliver(message: ExportDeliver) -> None:
        try:
            event = await deliverer.deliver(message)
        except DestinationFailed as error:
            if error.final:
                raise Permanent(str(error)) from error
            raise
        if event:
            await deliverer.outbox.emit(event)

    return deliver


def make_give_up(deliverer: Deliverer) -> Callable[[bytes, str], Awaitable[None]]:
    """Make what follows when a delivery has been given up."""

    async def give_up(body: bytes, reason: str) -> None:
        order = ExportDeliver.model_validate_json(body)
        await deliverer.outbox.emit(await deliverer.fail(order, reason))

    return give_up
