"""CPU and memory of SRT ingest compared with ffmpeg: `python -m tests.bench.bench_srt [--streams 10] [--seconds 20]`.

Every row takes the same callers (ffmpeg, copying one 5 Mbps H.264 + AAC file in real time); measured is the
receiving process, or all receiving processes together. CPU is user + system time in percent of one core, per stream.
The threads are libsrt's (RcvQ: the port's only receiver, TsbPd: one per stream, it times the delivery) and Python's.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import av
import psutil

from services.ingester.recorder.mpegts import TsDemuxer
from services.ingester.srt import SrtGrant, SrtLimits, SrtListener, SrtPublication
from shared.runtime.clock import SystemClock
from shared.runtime.logging import configure_logging
from tests.bench.bench_rtmp import HLS, QUIET, SETTLE_S, Found, free_port, make_source, measure, running

PASSPHRASE = "correct horse battery"
CHUNK = 256 * 1024


def read(publication: SrtPublication) -> None:
    """Read the bytes and drop them."""
    while publication.read(CHUNK):
        pass


def demux(publication: SrtPublication) -> None:
    """Split every frame with our own demuxer."""
    demuxer = TsDemuxer()
    while data := publication.read(CHUNK):
        demuxer.feed(data)


def pyav(publication: SrtPublication) -> None:
    """Let PyAV demux every packet."""
    with av.open(publication, format="mpegts", buffer_size=131072) as container:
        for _ in container.demux():
            pass


class Server(NamedTuple):
    """The server of one of our rows."""

    consume: Callable[[SrtPublication], None] = read
    limits: SrtLimits = SrtLimits()
    passphrase: str | None = None


SERVERS = {
    "read": Server(),
    "read, encrypted": Server(passphrase=PASSPHRASE),
    "read, in order": Server(limits=SrtLimits(in_order=True)),
    "read, every 100 ms": Server(limits=SrtLimits(drain_interval=timedelta(milliseconds=100))),
    "read, every 30 ms": Server(limits=SrtLimits(drain_interval=timedelta(milliseconds=30))),
    "read, every 5 ms": Server(limits=SrtLimits(drain_interval=timedelta(milliseconds=5))),
    "read + own demuxer": Server(demux),
    "read + PyAV demuxer": Server(pyav),
}
PEERS = {
    "ffmpeg listener, null output": ["-f", "null", "-"],
    "ffmpeg listener, HLS fMP4": ["-bsf:a", "aac_adtstoasc", *HLS],
}


def serve(name: str) -> None:
    """Run the server of a row; print the port, run until stdin closes."""
    configure_logging("bench", json=True)
    server = SERVERS[name]
    grant = SrtGrant(server.passphrase)
    listener = SrtListener("127.0.0.1", 0, lambda _: grant, server.consume, server.limits, SystemClock())
    listener.start()
    print(json.dumps({"port": listener.port}), flush=True)
    sys.stdin.read()


def callers(source: Path, urls: list[str]) -> list[list[str]]:
    """Return commands that publish the source to each URL in real time, for ever."""
    head = [*QUIET, "-re", "-stream_loop", "-1", "-i", str(source), "-c", "copy", "-f", "mpegts"]
    return [[*head, url] for url in urls]


def by_thread(pid: int) -> Counter[str]:
    """Sum up the CPU seconds of a process by the names of its threads."""
    found: Counter[str] = Counter()
    for thread in psutil.Process(pid).threads():
        name = Path(f"/proc/{pid}/task/{thread.id}/comm").read_text().strip()
        found[name] += thread.user_time + thread.system_time
    return found


def ours(name: str, source: Path, streams: int, seconds: int) -> tuple[Found, str]:
    """Measure one of our listeners, in its own process; also return which threads took the time."""
    command = [sys.executable, "-m", "tests.bench.bench_srt", "--serve", name]
    secret = f"&passphrase={PASSPHRASE}" if SERVERS[name].passphrase else ""
    with running([command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as servers:
        port = json.loads(servers[0].stdout.readline())["port"]  # type: ignore[union-attr]
        urls = [f"srt://127.0.0.1:{port}?pkt_size=1316&streamid=cam{n}{secret}" for n in range(streams)]
        with running(callers(source, urls), stderr=subprocess.DEVNULL):
            time.sleep(SETTLE_S)
            before = by_thread(servers[0].pid)
            found = measure(servers, seconds, streams)
            spent = by_thread(servers[0].pid) - before
    parts = (f"{who} {took / seconds / streams * 100:.2f}" for who, took in spent.most_common(3))
    return found, ", ".join(parts)


def ffmpegs(output: list[str], source: Path, folder: Path, streams: int, seconds: int) -> tuple[Found, str]:
    """Measure one listening ffmpeg per stream."""
    urls = [f"srt://127.0.0.1:{free_port()}" for _ in range(streams)]
    commands = []
    for index, url in enumerate(urls):
        place = folder / f"out-{index}"
        place.mkdir(exist_ok=True)
        target = [part.format(place=place) for part in output]
        commands.append([*QUIET, "-y", "-i", f"{url}?mode=listener", "-c", "copy", *target])
    with running(commands) as servers:
        time.sleep(2)
        with running(callers(source, [f"{url}?pkt_size=1316" for url in urls]), stderr=subprocess.DEVNULL):
            time.sleep(SETTLE_S)
            return measure(servers, seconds, streams), ""


def main() -> None:
    """Measure every row and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=10)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--serve")
    parser.add_argument("--only", default="", help="rows whose name contains this")
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = make_source(folder)
        print(f"{arguments.streams} callers of 5 Mbps on one port, {arguments.seconds} s, all per stream")
        head = f"{'CPU %':>6} {'user':>5} {'system':>6} {'MiB':>6} {'switches/s':>10}  threads"
        print(f"{'receiver':30} {head}")
        for row in [*SERVERS, *PEERS]:
            if arguments.only not in row:
                continue
            size = arguments.streams, arguments.seconds
            found, threads = ours(row, source, *size) if row in SERVERS else ffmpegs(PEERS[row], source, folder, *size)
            cpu = f"{found.user + found.system:6.2f} {found.user:5.2f} {found.system:6.2f}"
            print(f"{row:30} {cpu} {found.memory:6.1f} {found.switches:10.1f}  {threads}", flush=True)


if __name__ == "__main__":
    main()
