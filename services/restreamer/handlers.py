"""The restreamer's handlers."""

from __future__ import annotations

from dataclasses import dataclass

from services.restreamer.records import RestreamRecords
from shared.messages.restream_commands import RestreamCommand


@dataclass(frozen=True, slots=True)
class Handlers:
    """One method for each durable consumer."""

    records: RestreamRecords

    async def command(self, command: RestreamCommand) -> None:
        """Handle `restreams.command`."""
        await self.records.apply(command)
