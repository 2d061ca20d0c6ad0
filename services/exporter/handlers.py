"""The exporter's handlers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from services.exporter.deliver import Deliverer
from services.exporter.destination import Seen, Shelf
from shared.errors import DestinationFailed, Permanent
from shared.messages.exports import ExportDeliver, LibraryDelete


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


def make_delete(library: Shelf) -> Callable[[LibraryDelete], Awaitable[None]]:
    """Make the handler of `library.delete`."""

    async def delete(message: LibraryDelete) -> None:
        seen = Seen(message.version, message.modified_ms) if message.version else None
        await asyncio.to_thread(library.remove, message.account, message.file_name, seen)

    return delete


def make_give_up(deliverer: Deliverer) -> Callable[[bytes, str], Awaitable[None]]:
    """Make the handler of a delivery that was given up."""

    async def give_up(body: bytes, reason: str) -> None:
        order = ExportDeliver.model_validate_json(body)
        await deliverer.outbox.emit(await deliverer.fail(order, reason))

    return give_up
