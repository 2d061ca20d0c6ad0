"""The double of Video Cloud as a server beside a test, for an exporter in another process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.support.web_moto import meddled
from tests.support.web_peer import peer
from tests.support.web_videocloud import Cloud


@dataclass
class CloudServer:
    """A running double; `settings` are an exporter's."""

    cloud: Cloud
    settings: dict[str, str]

    def is_ingesting(self, data: bytes) -> bool:
        """Return whether a file's job runs and was looked at; those of other files end, as it may wait for them."""
        found = False
        for job, (_, _, file) in list(zip(self.cloud.jobs, self.cloud.ingested, strict=False)):
            if file == data:
                found = found or self.cloud.asked[job] > 0
            else:
                self.cloud.jobs[job]["state"] = "finished"
        return found

    def end(self, state: str, code: str = "", message: str = "") -> None:
        """Let all ingest jobs end, those to come too."""
        self.cloud.states, self.cloud.failure = [state], (code, message)
        for row in list(self.cloud.jobs.values()):
            row["state"] = state


@contextmanager
def videocloud_server() -> Iterator[CloudServer]:
    """Run it in a thread of its own; its jobs run until `end` is called."""
    with meddled() as bucket:
        cloud, started, ports = Cloud(bucket, states=["processing"]), threading.Event(), list[int]()
        loop = asyncio.new_event_loop()
        stop = asyncio.Event()

        async def serve() -> None:
            async with peer(cloud.handle) as server:
                ports.append(server.port)
                started.set()
                await stop.wait()

        thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
        thread.start()
        try:
            assert started.wait(30)
            urls = {f"REELAY_VIDEOCLOUD_{api.upper()}_URL": f"http://127.0.0.1:{ports[0]}/{api}"
                    for api in ("oauth", "cms", "ingest")}  # fmt: skip
            yield CloudServer(cloud, {**urls, "REELAY_VIDEOCLOUD_BUCKET_URL": bucket.endpoint})
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join(30)
            loop.close()
