"""The exporter's handlers."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from services.exporter.deliver import Deliverer
from services.exporter.destinations.library import Seen, Shelf
from services.exporter.trial import Trial
from shared.errors import DestinationFailed, Permanent
from shared.messages.exports import CredentialTest, ExportAbort, ExportDeliver, LibraryDelete


@dataclass(frozen=True, slots=True)
class Handlers:
    """One method per durable consumer."""

    deliverer: Deliverer
    trial: Trial
    library: Shelf

    async def deliver(self, message: ExportDeliver) -> None:
        """Handle `exports.deliver`."""
        try:
            event = await self.deliverer.deliver(message)
        except DestinationFailed as error:
            if error.final:
                raise Permanent(str(error)) from error
            raise
        if event:
            await self.deliverer.outbox.emit(event)

    async def deliver_died(self, body: bytes, reason: str) -> None:
        """Fail the export whose delivery was given up."""
        order = ExportDeliver.model_validate_json(body)
        if event := await self.deliverer.fail(order, reason):
            await self.deliverer.outbox.emit(event)

    async def abort(self, message: ExportAbort) -> None:
        """Handle `exports.abort`."""
        if event := await self.deliverer.abort(message):
            await self.deliverer.outbox.emit(event)

    async def test(self, message: CredentialTest) -> None:
        """Handle `exports.test`."""
        await self.trial.run(message)

    async def delete(self, message: LibraryDelete) -> None:
        """Handle `library.delete`."""
        seen = Seen(message.version, message.modified_ms) if message.version else None
        await asyncio.to_thread(self.library.remove, message.account, message.file_name, seen)
