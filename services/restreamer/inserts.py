"""Watches whether a restream's live event is live, from its job and its log, once a second."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol

from nats.js import JetStreamContext
from structlog.stdlib import BoundLogger

from services.restreamer.beats import next_beat
from shared.broker.kv import Bucket
from shared.errors import Unavailable
from shared.messages.jobs import JobRecord
from shared.messages.restreams import LiveInsert, Source
from shared.recording.log import newest
from shared.runtime.tasks import beside

LOOK: Final = timedelta(seconds=1)


class Tell(Protocol):
    """Switches to a live event, or back."""

    def __call__(self, source: Source | None, *, back: bool = True) -> None: ...  # noqa: D102


@dataclass(slots=True)
class Watch:
    """Watches the event of one restream. While the broker is away, the last known state stays."""

    js: Callable[[], JetStreamContext]
    jobs: Bucket[JobRecord]
    tell: Tell
    log: BoundLogger
    account: str = ""
    insert: LiveInsert | None = None
    _session: str | None = None

    def follow(self, account: str, insert: LiveInsert | None) -> None:
        """Watch this event from now on; None: stop watching."""
        self.account, self.insert = account, insert

    async def run(self) -> None:
        """Look once a second."""
        clock = asyncio.get_running_loop().time
        while True:
            with contextlib.suppress(Unavailable):
                await self._look()
            await asyncio.sleep(next_beat(LOOK) - clock())

    async def _look(self) -> None:
        insert = self.insert
        stored = await self.jobs.get(f"{self.account}.{insert.event}") if insert else None
        session = stored.value.session if stored and stored.value.state == "processing" else None
        if session == self._session or (insert and session and not await self._recorded(insert.event, session)):
            return
        if self._session is not None:
            self.tell(None, back=insert.back if insert else True)
        self._session = session
        if insert and session is not None:
            shown = f"live event {insert.event}"
            self.tell(Source(kind="live", location=insert.event, shown=shown), back=insert.back)
        self.log.info("restream.live", job=insert.event if insert else "", session=session)

    async def _recorded(self, event: str, session: str) -> bool:
        """Return whether there is a segment of the session, with which playing can start."""
        last = await newest(self.js(), self.account, event)
        return last is not None and last.segment.session == session


@dataclass(frozen=True, slots=True)
class Inserts:
    """Creates watches."""

    js: Callable[[], JetStreamContext]
    jobs: Bucket[JobRecord]

    @contextlib.asynccontextmanager
    async def watched(self, tell: Tell, log: BoundLogger) -> AsyncIterator[Watch]:
        """Watch for one restream, whose log is `log`, while the block runs; call `tell` at each change."""
        watch = Watch(self.js, self.jobs, tell, log)
        async with beside(watch.run()):
            yield watch
