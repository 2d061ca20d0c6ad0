"""An ingester that is ready on its ports, and what an operator sees of it."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from shared.broker.kv import Bucket
from shared.messages.live import JobState, SessionWarned
from shared.messages.sessions import PublisherStatus, status_prefix
from tests.support.clipper_desk import read_all
from tests.support.nats import NatsServer
from tests.support.recordings import until
from tests.support.sessions_desk import ACCOUNT, Desk, desk
from tests.support.shared_bus import free_port, new_id


@asynccontextmanager
async def ingesting(nats: NatsServer, folder: Path, source: Path) -> AsyncIterator[tuple[Desk, int]]:
    """Run an ingester; yield its SRT port too. At the end, check that no key was logged."""
    srt = free_port()
    async with desk(nats, folder, source) as at:
        with at.ingester(folder / "log", REELAY_SRT_PORT=str(srt), REELAY_LOG_JSON="true"):

            async def look() -> bool:
                with socket.socket() as probe:
                    return probe.connect_ex(("127.0.0.1", at.rtmp)) == 0

            await until(look, 60)
            await until(lambda: asyncio.sleep(0, "srt.listening" in (folder / "log").read_text()), 60)
            yield at, srt
        log = (folder / "log").read_text().lower()
        assert at.keys
        assert not any(key in log for key in at.keys)


async def another(at: Desk, state: JobState = "standby") -> None:
    """Continue with a new job."""
    at.event, at.key = new_id(), new_id()
    await at.job(state)


async def statuses(at: Desk) -> list[PublisherStatus]:
    """Return the statuses of the job's publishers, the latest first."""
    bucket = Bucket(lambda: at.js, "sessions", PublisherStatus)
    found = [stored.value for stored in await bucket.items(status_prefix(ACCOUNT, at.event))]
    return sorted(found, key=lambda status: status.since_ms, reverse=True)


async def warned(at: Desk) -> list[SessionWarned]:
    """Return the warnings that were published."""
    found = await read_all(at.js, "EVENTS", f"live.session.warned.{ACCOUNT}.{at.event}")
    return [SessionWarned.model_validate(body) for _, body in found]


def lines(folder: Path) -> list[dict[str, Any]]:
    """Read the ingester's log."""
    found = [line for line in (folder / "log").read_text().splitlines() if line.startswith("{")]
    return [json.loads(line) for line in found]
