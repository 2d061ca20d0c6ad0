"""Work on a clip in a thread, which ends when the clip does."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Final, TypeVar

from services.clipper.cutting.progress import Progress
from services.clipper.progressing import Progressing
from services.clipper.records import Clips
from services.clipper.state import ENDED
from shared.errors import NotYet, Unavailable
from shared.messages.base import Accuracy
from shared.messages.clips import ClipRecord, VodState

T = TypeVar("T")
LOOK: Final = timedelta(seconds=1)
SOON: Final = timedelta(seconds=1)


async def watched(
    clips: Clips,
    record: ClipRecord,
    work: Callable[[threading.Event], T],
    ends: frozenset[VodState] = ENDED,
    stopping: Callable[[], bool] = lambda: False,
    accuracy: Accuracy | None = None,
) -> T | None:
    """Run `work` in a thread; stop it when the clip is gone or in one of the states `ends`, or nobody waits for it.

    `accuracy`: the file that it makes, of whose progress is told. NotYet when `stopping`, which is for work that is
    soon done again.
    """
    stop = Progress()
    told = Progressing(clips, record, accuracy) if accuracy else None
    task = asyncio.create_task(asyncio.to_thread(work, stop))
    try:
        while not (await asyncio.wait({task}, timeout=LOOK.total_seconds()))[0]:
            if stopping():
                raise NotYet("the clipper is stopping", SOON)
            with contextlib.suppress(Unavailable):  # the cut goes on while the broker is away
                stored = await clips.bucket.get(f"{record.account}.{record.clip}")
                if stored is None or stored.value.state in ends:
                    stop.set()
                elif told is not None:
                    await told.look(stop.done)
        if stop.is_set():
            task.exception()  # only that it was stopped, which is known
            return None
        return task.result()
    finally:
        stop.set()
