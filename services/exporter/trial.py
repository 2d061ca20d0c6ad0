"""Tries stored credentials at a destination, and records what came of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from services.exporter.workshop import Workshop
from shared.broker.kv import Bucket
from shared.errors import DestinationFailed, Permanent
from shared.messages.exports import CredentialTest, CredentialTestRecord
from shared.runtime.clock import Clock

LONGEST: Final = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Trial:
    """Runs tests of credentials; a test that has a result is not run again."""

    workshop: Workshop
    results: Bucket[CredentialTestRecord]
    clock: Clock
    longest: timedelta = field(default_factory=lambda: LONGEST)

    async def run(self, order: CredentialTest) -> None:
        """Test the destination, and write the result. Raise Unavailable."""
        key = f"{order.account}.{order.test}"
        if await self.results.get(key) is not None:
            return
        error = await self._fault(order)
        result = CredentialTestRecord(
            account=order.account, test=order.test, worked=not error, error=error[:1024], at_ms=self.clock.now_ms()
        )
        await self.results.change(key, lambda before: None if before else result)

    async def _fault(self, order: CredentialTest) -> str:
        """Return what is wrong; empty when all is right."""
        try:
            async with asyncio.timeout(self.longest.total_seconds()):
                await (await self.workshop.make(order.account, order.destination, "frame")).test()
        except TimeoutError:
            return f"the destination did not answer within {int(self.longest.total_seconds())} s"
        except (DestinationFailed, Permanent) as error:
            return str(error) or "the destination failed"
        except OSError as error:
            return f"the destination could not be reached: {error.strerror or type(error).__name__}"
        return ""
