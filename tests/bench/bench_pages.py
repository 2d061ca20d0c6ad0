"""Pages of long lists: `python -m tests.bench.bench_pages [--count 100000] [--tries 20]`.

A gateway is started with `count` jobs, clips, deliveries and restreams of one account. One client requests each page
repeatedly, while another requests /healthz every 20 ms: its wait shows how long a page delays others.
Bound: 50 ms a page of ten; nobody else waits longer than that.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import httpx
from nats.js import JetStreamContext

from shared.messages.base import Record
from shared.messages.clips import ClipCreate, ClipRecord
from shared.messages.destinations import DestinationSpec
from shared.messages.jobs import JobRecord, StateChange
from shared.messages.notifications import Attempt, DeliveryRecord
from shared.messages.ranges import Selection
from shared.messages.restreams import Item, RestreamRecord, RestreamSpec, Source, Target
from shared.runtime.tasks import end_task
from tests.bench.bench_rest import free_port, process
from tests.support.api_gateway import until
from tests.support.nats import nats_server
from tests.support.recordings import connected

AT_ONCE = 500
BEAT_S = 0.02
START_MS = 1_700_000_000_000
PAGES = (
    ("jobs", "/v1/jobs?page_size=1"),
    ("jobs", "/v1/jobs?page_size=10"),
    ("jobs, by change", "/v1/jobs?page_size=10&sort=modified_at&sort_dir=asc"),
    ("jobs, one state", "/v1/jobs?page_size=10&state=cancelled"),
    ("clips", "/v1/vods?page_size=10"),
    ("clips of a job", "/v1/jobs/{job}/vods?page_size=10"),
    ("clips, label of one", "/v1/vods?label=77"),
    ("deliveries", "/v1/webhooks/deliveries?page_size=1"),
    ("deliveries", "/v1/webhooks/deliveries?page_size=100"),
    ("deliveries of one", "/v1/webhooks/deliveries?resource={job}"),
    ("deliveries, dead", "/v1/webhooks/deliveries?state=dead&page_size=10"),
    ("restreams", "/v1/restreams?page_size=10"),
    ("restreams, playing", "/v1/restreams?page_size=10&state=playing&sort=modified_at"),
)
SPEC = RestreamSpec(
    items=(Item(source=Source(kind="url", location="u" * 80, shown="https://example.com/a.mp4")),),
    targets=(Target(target="a" * 16, url="u" * 80, shown="rtmp://example.com/live/***"),),
)


class Row(NamedTuple):
    """How long a page took, and how long others waited in that time; ms."""

    name: str
    path: str
    p50: float
    most: float
    others_p50: float
    others_most: float


def ident(number: int) -> str:
    return f"{number * 7919 % 1_000_003:032x}"


def records(count: int) -> Iterator[tuple[str, Record]]:
    """Yield the buckets' contents: of each thousand a job cancelled, a delivery dead, a restream playing."""
    for number in range(count):
        at, name = START_MS + number * 1000, ident(number)
        state = "finished" if number % 1000 else "cancelled"
        yield (
            f"events.main.{name}",
            JobRecord(
                account="main", event=name, state=state, revision=2, announced=2, created_ms=at, changed_ms=at + 500,
                history=tuple(StateChange(state=s, at_ms=at) for s in ("standby", "processing", state)),
                stream_key="k" * 80, passphrase="p" * 80, fields={"region": "here"},
            ),
        )  # fmt: skip
        asked = ClipCreate(
            account="main", event=ident(number % 1000), clip=name, label=str(number), requested_ms=at, live=False,
            selection=Selection(clock="stream", start=0, end=10), asked_duration=10,
            destinations=(DestinationSpec(export="e" * 32, file_name="x.mp4"),),
        )  # fmt: skip
        yield (
            f"clips.main.{name}",
            ClipRecord(
                account="main", clip=name, request=asked, state="finished", created_ms=at, changed_ms=at + 900,
            ),
        )  # fmt: skip
        tries = (Attempt(at_ms=at + 10, status=200), Attempt(at_ms=at + 20, status=200))
        yield (
            f"deliveries.main.{name}",
            DeliveryRecord(
                account="main", delivery=name, lane=name, position=number, url="https://example.com/hook",
                type="clips.state_changed", resource=ident(number % 10_000), payload={"clip": name, "text": "x" * 500},
                state="delivered" if number % 1000 else "dead", attempts=tries, created_ms=at, deadline_ms=at,
            ),
        )  # fmt: skip
        yield (
            f"restreams.main.{name}",
            RestreamRecord(
                account="main", restream=name, spec=SPEC, state="ended" if number % 1000 else "playing",
                created_ms=at, changed_ms=at + 700, started_ms=at,
            ),
        )  # fmt: skip


async def fill(js: JetStreamContext, count: int) -> None:
    """Write all records."""
    made = records(count)
    while some := list(itertools.islice(made, AT_ONCE)):
        await asyncio.gather(*(js.publish(f"$KV.{key}", value.model_dump_json().encode()) for key, value in some))


async def beat(client: httpx.AsyncClient, waits: list[float]) -> None:
    """Request something small repeatedly, and record how long it took."""
    while True:
        begun = time.perf_counter()
        (await client.get("/healthz")).raise_for_status()
        waits.append((time.perf_counter() - begun) * 1000)
        await asyncio.sleep(BEAT_S)


async def readable(client: httpx.AsyncClient, path: str) -> bool:
    return (await client.get(path)).status_code == 200


async def written(path: Path) -> str:
    return await asyncio.to_thread(lambda: path.read_text() if path.exists() else "")


async def page(client: httpx.AsyncClient, name: str, path: str, tries: int) -> Row:
    """Request a page `tries` times."""
    waits: list[float] = []
    took: list[float] = []
    async with httpx.AsyncClient(base_url=client.base_url) as other:
        beating = asyncio.create_task(beat(other, waits))
        for _ in range(tries):
            begun = time.perf_counter()
            (await client.get(path)).raise_for_status()
            took.append((time.perf_counter() - begun) * 1000)
            await asyncio.sleep(BEAT_S)
        await end_task(beating)
    took.sort()
    waits.sort()
    return Row(name, path, took[len(took) // 2], took[-1], waits[len(waits) // 2], waits[-1])


async def all_pages(base: str, key: str, tries: int) -> tuple[float, float, list[Row]]:
    """Wait until the lists can be read, then measure each page; also return that wait, and how long others waited."""
    begun = time.perf_counter()
    waits: list[float] = []
    async with httpx.AsyncClient(base_url=base, headers={"X-API-KEY": key}, timeout=120) as client:
        async with httpx.AsyncClient(base_url=base) as other:
            beating = asyncio.create_task(beat(other, waits))
            for path in ("/v1/jobs", "/v1/vods", "/v1/webhooks/deliveries"):
                await until(partial(readable, client, path), 600)
            await end_task(beating)
        first = time.perf_counter() - begun
        paths = [(name, path.format(job=ident(7))) for name, path in PAGES]
        return first, max(waits), [await page(client, name, path, tries) for name, path in paths]


async def bench(folder: Path, options: argparse.Namespace) -> None:
    """Fill the broker, start a gateway, and print the results."""
    port = free_port()
    with nats_server(folder / "nats") as nats:
        async with connected(nats.url) as js:
            await fill(js, options.count)
        environment = {"REELAY_DATA_DIR": str(folder), "REELAY_NATS_URL": nats.url, "REELAY_HTTP_PORT": str(port)}
        environment["REELAY_LOG_LEVEL"] = "ERROR"  # nobody reads its output
        with process(["-m", "services.gateway"], port, **environment) as server:
            key = (await until(partial(written, folder / "admin.key"))).strip()
            first, held, rows = await all_pages(f"http://127.0.0.1:{port}", key, options.tries)
            memory = server.memory_info().rss >> 20
    print(f"{options.count} jobs, clips, deliveries and restreams each; ms")
    print(
        f"after a start lists can be read in {first:.1f} s; others wait {held:.0f} ms at most meanwhile; {memory} MiB"
    )
    print(f"{'':24}{'page p50':>10}{'max':>8}{'others p50':>12}{'max':>8}  path")
    for r in rows:
        shown = r.path.replace(ident(7), "<id>")
        print(f"{r.name:24}{r.p50:10.1f}{r.most:8.1f}{r.others_p50:12.1f}{r.others_most:8.1f}  {shown}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--tries", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(bench(Path(folder), options))


if __name__ == "__main__":
    main()
