"""Watches work on a clip: ends it when nobody waits for it any more, or when the disk is too full to go on."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeVar

from services.clipper.cutting.progress import Progress
from services.clipper.progressing import Progressing
from services.clipper.records import Clips
from services.clipper.state import ENDED
from shared.errors import Unavailable
from shared.messages.clips import ClipRecord, VodState
from shared.store import StoreFull

T = TypeVar("T")
LOOK: Final = timedelta(seconds=1)


def _nothing(*_: object) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Watching:
    """Runs work in a thread, and looks every second whether it is still wanted."""

    clips: Clips

    async def run(
        self,
        record: ClipRecord,
        work: Callable[[threading.Event], T],
        *,
        ends: frozenset[VodState] = ENDED,
        halted: Callable[[], None] = _nothing,
        told: Progressing | None = None,
        dropped: Callable[[T], None] = _nothing,
    ) -> T | None:
        """Run `work`; stop it, and return None, when the clip is gone or in one of the states `ends`.

        `halted` is called at each look: what it raises ends the work and is raised; after StoreFull nothing is written
        any more. `dropped` gets a result that came too late for that.
        """
        stop = Progress()
        task = asyncio.create_task(asyncio.to_thread(work, stop))
        try:
            while not (await asyncio.wait({task}, timeout=LOOK.total_seconds()))[0]:
                await asyncio.to_thread(halted)
                with contextlib.suppress(Unavailable):  # the work goes on while the broker is away
                    if await self._is_over(record, ends):
                        stop.set()
                    elif told is not None:
                        await told.look(stop.done)
            if not stop.is_set():
                return task.result()
        except StoreFull:
            stop.set()
            await asyncio.wait({task})
            await _drop(task, dropped)
            raise
        finally:
            stop.set()
        await _drop(task, dropped)
        return None

    async def _is_over(self, record: ClipRecord, ends: frozenset[VodState]) -> bool:
        stored = await self.clips.bucket.get(f"{record.account}.{record.clip}")
        return stored is None or stored.value.state in ends


async def _drop(task: asyncio.Task[T], dropped: Callable[[T], None]) -> None:
    if task.exception() is None:  # otherwise only that it was stopped, or what is raised already
        await asyncio.to_thread(dropped, task.result())
