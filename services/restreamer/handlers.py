"""The restreamer's handlers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from shared.errors import NotYet
from shared.messages.restreams import RestreamCommand


@dataclass(frozen=True, slots=True)
class Handlers:
    """One method a durable consumer."""

    async def command(self, command: RestreamCommand) -> None:
        """`restreams.command`."""
        raise NotYet(f"nobody applies {command.verb} yet", timedelta(seconds=5))
