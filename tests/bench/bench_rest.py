"""Latency of REST creates at a fixed rate: `python -m tests.bench.bench_rest [--rate 100] [--seconds 20]`.

Requests are sent by the clock, whether or not earlier ones were answered, and latency counts from the moment a request
was due, which shows a server that falls behind. For comparison there is a bare FastAPI create, which stores nothing:
the cost of the framework alone on this machine. Bound: p99 below 50 ms at 100/s.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from shared.broker.kv import Bucket
from shared.messages.sessions import EventClock, clock_key
from shared.runtime.service import make_service
from shared.runtime.settings import Settings
from tests.support.nats import nats_server

CONNECTIONS = 64
WARM_S = 3


class Thing(BaseModel):
    """The body of the bare create."""

    name: str


def bare(port: int) -> None:
    """Serve a create that stores nothing."""
    app = FastAPI()

    @app.post("/things", status_code=201)
    async def create(thing: Thing) -> dict[str, str]:
        return {"id": uuid.uuid4().hex, "name": thing.name}

    uvicorn.run(app, port=port, log_level="warning", http="httptools")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@contextmanager
def process(arguments: list[str], port: int, **environment: str) -> Iterator[psutil.Process]:
    """Run a server until its port answers HTTP, and stop it at the end."""
    started = subprocess.Popen(
        [sys.executable, *arguments], env=os.environ | environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if started.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((started.stderr.read() if started.stderr else b"").decode()) from None
                time.sleep(0.05)
        yield psutil.Process(started.pid)
    finally:
        started.send_signal(signal.SIGTERM)
        started.wait(20)


class Row(NamedTuple):
    """The result of a run; latencies in ms."""

    name: str
    sent: int
    failed: int
    p50: float
    p90: float
    p99: float
    most: float
    cpu_ms: float


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> int:
    """Send a request and read its answer; return the status."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(v) for k, _, v in (h.partition(b":") for h in head.split(b"\r\n")) if k.lower() == b"content-length"
    )
    await reader.readexactly(length)
    return int(head.split(b" ", 2)[1])


async def load(port: int, request: bytes, rate: int, seconds: int) -> tuple[list[float], int]:
    """Send `rate` requests a second; return the latencies in ms, and how many answers were not 201."""
    free: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    for _ in range(CONNECTIONS):
        free.put_nowait(await asyncio.open_connection("127.0.0.1", port))
    latencies: list[float] = []
    failed = 0

    async def one(due: float) -> None:
        nonlocal failed
        connection = await free.get()
        status = await exchange(*connection, request)
        latencies.append((time.perf_counter() - due) * 1000)
        failed += status != 201
        free.put_nowait(connection)

    start = time.perf_counter()
    tasks = []
    for number in range(rate * seconds):
        due = start + number / rate
        if (pause := due - time.perf_counter()) > 0:
            await asyncio.sleep(pause)
        tasks.append(asyncio.create_task(one(due)))
    await asyncio.gather(*tasks)
    return latencies, failed


def post(path: str, body: dict[str, object], key: str = "") -> bytes:
    """Return a request's bytes."""
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nX-API-KEY: {key}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data


def measure(name: str, server: psutil.Process, port: int, request: bytes, options: argparse.Namespace) -> Row:
    """Warm up, then measure."""
    asyncio.run(load(port, request, options.rate, WARM_S))
    before = sum(server.cpu_times()[:2])
    latencies, failed = asyncio.run(load(port, request, options.rate, options.seconds))
    cpu = (sum(server.cpu_times()[:2]) - before) * 1000 / len(latencies)
    ordered = sorted(latencies)
    at = [ordered[min(int(len(ordered) * q), len(ordered) - 1)] for q in (0.5, 0.9, 0.99)]
    return Row(name, len(latencies), failed, *at, ordered[-1], cpu)


async def give_clock(settings: Settings, job: str) -> None:
    """Record, as the ingester does, that a stream started a minute ago."""
    service = make_service("ingester", settings)
    await service.broker.connect()
    clocks = Bucket(service.js, "sessions", EventClock)
    await clocks.create(clock_key("main", job), EventClock(first_frame_ms=service.clock.now_ms() - 60_000))
    await service.broker.stop()


def bench_reelay(options: argparse.Namespace, folder: Path) -> list[Row]:
    """Measure the gateway's creates of jobs and of clips."""
    port = free_port()
    with nats_server(folder / "nats") as nats:
        settings = Settings(data_dir=folder, nats_url=nats.url, http_port=port)
        environment = {"REELAY_DATA_DIR": str(folder), "REELAY_NATS_URL": nats.url, "REELAY_HTTP_PORT": str(port)}
        environment |= dict.fromkeys(
            ("REELAY_ACCOUNT_RATE", "REELAY_ACCOUNT_JOBS", "REELAY_ACCOUNT_CLIPS"), "0"
        )  # no limits
        with process(["-m", "services.gateway"], port, **environment) as server:
            while not (folder / "admin.key").exists():
                time.sleep(0.05)
            key = (folder / "admin.key").read_text().strip()
            jobs = measure("reelay POST /v1/jobs", server, port, post("/v1/jobs", {"name": "x"}, key), options)
            made = urllib.request.Request(
                f"http://127.0.0.1:{port}/v1/jobs", b'{"name": "x"}', {"X-API-KEY": key}, method="POST"
            )
            job = json.load(urllib.request.urlopen(made))["id"]
            asyncio.run(give_clock(settings, job))
            clip: dict[str, object] = {
                "live_job_id": job,
                "outputs": [{"label": "x", "stream_start_time": 4, "duration": 10}],
            }
            clips = measure("reelay POST /v1/vods", server, port, post("/v1/vods", clip, key), options)
    return [jobs, clips]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--bare", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bare:
        bare(options.bare)
        return
    port = free_port()
    with process(["-m", "tests.bench.bench_rest", "--bare", str(port)], port) as server:
        rows = [measure("bare FastAPI create", server, port, post("/things", {"name": "x"}), options)]
    with tempfile.TemporaryDirectory() as folder:
        rows += bench_reelay(options, Path(folder))
    print(f"{options.rate}/s for {options.seconds} s; latency in ms; CPU of the server in ms a request")
    print(f"{'':24}{'sent':>7}{'failed':>8}{'p50':>8}{'p90':>8}{'p99':>8}{'max':>8}{'CPU':>8}")
    for r in rows:
        print(f"{r.name:24}{r.sent:7}{r.failed:8}{r.p50:8.1f}{r.p90:8.1f}{r.p99:8.1f}{r.most:8.1f}{r.cpu_ms:8.2f}")


if __name__ == "__main__":
    main()
