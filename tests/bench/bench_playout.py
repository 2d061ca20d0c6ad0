"""Playing recordings out as live, compared with ffmpeg: `make bench BENCH=playout`.

`python -m tests.bench.bench_playout [--tasks 10] [--most 40] [--seconds 30] [--pace 60] [--starts 10] [--form flv]`

A whole stack runs; restreams play a 1080p30 5 Mbps file of 16 s (H.264, AAC, B-frames, GOPs of 2 s) from the library,
in a loop, to RTMP receivers that only read. CPU is the restreamer's user + system time in percent of one core, less
its idle time. For comparison `ffmpeg -re -stream_loop -1 -c copy -f flv`, a process per task, to the same receivers.
Pace: how late each picture comes at a receiver, by its timestamp, against the median; joins are those of the loop.
First frame: from before the POST to the first picture at the receiver.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import http.server
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tests.bench.common import QUIET, load, machine, median, quantile, running, spent, table
from tests.bench.common_media import make_stream, write_flv
from tests.bench.common_sink import Sink, sink
from tests.support.stack import StackUnderTest, stack, until

WARM_S = 6
LOOP_S = 16
SETTLED_S = 3
FRAME_MS = 1000 / 30
HEAD = ("what", "tasks", "targets", "CPU % a task", "CPU % in all", "MB in all")


class Options(NamedTuple):
    """What is played, and how long is measured."""

    source: Path
    seconds: int
    folder: Path


def library(live: StackUnderTest, source: Path) -> str:
    """Put the file into the account's library, and wait until it counts as settled; return its URL."""
    place = live.folder / "library" / "main" / source.name
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(source.read_bytes())
        time.sleep(SETTLED_S)
    return f"reelay:library/{source.name}"


def start(live: StackUnderTest, url: str, targets: Sequence[str]) -> str:
    """Start a restream."""
    body = {"sources": [{"url": url}], "targets": [{"url": target} for target in targets]}
    return str(live.post("/v1/restreams", body)["id"])


def stop(live: StackUnderTest, ids: Sequence[str]) -> None:
    """End restreams and wait until they have ended."""
    for ident in ids:
        live.api.put(f"/v1/restreams/{ident}/stop")
    for ident in ids:
        until(lambda ident=ident: live.get(f"/v1/restreams/{ident}")["state"] == "stopped", "a restream to stop")  # type: ignore[misc]


def sending(live: StackUnderTest, ident: str) -> bool:
    """Return whether every target takes pictures."""
    shown = live.get(f"/v1/restreams/{ident}")
    assert shown["state"] in {"starting", "playing"}, shown
    return all(target["state"] == "live" and target["sent_bytes"] for target in shown["targets"])


def ours(live: StackUnderTest, options: Options, out: Sink, tasks: int, targets: int, idle: float) -> list[object]:
    """Play `tasks` restreams to `targets` targets each; return a row."""
    url, pid = library(live, options.source), live.pid("restreamer")
    ids = [start(live, url, [out.url(f"t{task}-{n}-{targets}") for n in range(targets)]) for task in range(tasks)]
    for ident in ids:
        until(lambda ident=ident: sending(live, ident), "a restream to send")  # type: ignore[misc]
    time.sleep(WARM_S)
    before = spent([pid])
    time.sleep(options.seconds)
    after = spent([pid])
    dropped = sum(t["dropped"] for ident in ids for t in live.get(f"/v1/restreams/{ident}")["targets"])
    assert not dropped, f"{dropped} units were not taken"
    assert live.pid("restreamer") == pid, "the restreamer was started again"
    stop(live, ids)
    cpu = load(before, after).both - idle
    return ["reelay", tasks, tasks * targets, cpu / tasks, cpu, after.resident]


def ffmpegs(options: Options, out: Sink, tasks: int) -> list[object]:
    """Play `tasks` streams with one ffmpeg each; return a row."""
    play = [*QUIET, "-re", "-stream_loop", "-1", "-i", str(options.source), "-c", "copy", "-f", "flv"]
    with running([[*play, out.url(f"f{task}")] for task in range(tasks)], options.folder / "peers.log", 0.1) as peers:
        time.sleep(WARM_S)
        pids = [peer.pid for peer in peers]
        before = spent(pids)
        time.sleep(options.seconds)
        after = spent(pids)
        assert all(peer.poll() is None for peer in peers), (options.folder / "peers.log").read_text()
    cpu = load(before, after).both
    return ["ffmpeg a task", tasks, tasks, cpu / tasks, cpu, after.resident]


def pace(name: str, out: Sink, key: str, skip: int) -> list[object]:
    """Return a row of how evenly pictures came, after the first `skip`."""
    rows = np.array(out.lines(key)[skip:], np.float64)
    found = out.arrivals(key)._replace(at_ns=rows[:, 0], stamp_ms=rows[:, 1])
    off, steps, gaps = np.abs(found.late_ms), np.diff(found.stamp_ms), np.diff(found.at_ns) / 1e6
    row = [name, len(rows), float(np.quantile(off, 0.5)), float(np.quantile(off, 0.99)), float(off.max())]
    return [*row, float(gaps.max()), float(steps.min()), float(steps.max()), found.drift_ms_an_hour]


@contextlib.contextmanager
def over_http(folder: Path) -> Iterator[str]:
    """Serve a folder on loopback."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            """Ignore connections that a stopped restream closed."""

    server = Server(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()


def first_frames(live: StackUnderTest, out: Sink, url: str, name: str, runs: int) -> list[object]:
    """Return a row of how long the first picture takes, in ms."""
    took = []
    for run in range(runs):
        key = f"{name}-{run}"
        before = time.monotonic_ns()
        ident = start(live, url, [out.url(key)])
        rows = until(lambda key=key: out.lines(key), "the first picture", 30, 0.02)  # type: ignore[misc]
        took.append((rows[0][0] - before) / 1e6)
        stop(live, [ident])
    return [name, runs, min(took), median(took), quantile(took, 1.0)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=10)
    parser.add_argument("--most", type=int, default=40, help="tasks at once in the last look; 0 leaves it out")
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--pace", type=int, default=60, help="s to look at the pace; the bound is for 600")
    parser.add_argument("--starts", type=int, default=10)
    parser.add_argument("--form", choices=("flv", "mp4"), default="flv", help="what file is played")
    arguments = parser.parse_args()
    print(machine(), flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = write_flv(make_stream(folder), LOOP_S, folder / "bench.flv")
        if arguments.form == "mp4":
            source, flv = folder / "bench.mp4", source
            subprocess.run([*QUIET, "-i", str(flv), "-c", "copy", str(source)], check=True)
        options = Options(source, arguments.seconds, folder)
        with (
            stack(folder / "stack") as live,
            sink(folder, "drain") as drain,
            sink(folder, "watch") as watched,
            over_http(folder) as address,
        ):
            costs(live, options, drain, arguments.tasks, arguments.most)
            paces(live, options, watched, arguments.pace)
            url = library(live, options.source)
            rows = [first_frames(live, watched, url, "library", arguments.starts)]
            rows += [first_frames(live, watched, f"{address}/{source.name}", "http", arguments.starts)]
            print(table(("first picture from", "runs", "least ms", "median ms", "most ms"), rows), flush=True)


def costs(live: StackUnderTest, options: Options, out: Sink, tasks: int, most: int) -> None:
    """Print what tasks and targets cost."""
    pid = live.pid("restreamer")
    before = spent([pid])
    time.sleep(10)
    idle = load(before, spent([pid])).both
    rows = [ours(live, options, out, tasks, 1, idle), ours(live, options, out, 1, 1, idle)]
    rows += [ours(live, options, out, 1, 11, idle), ffmpegs(options, out, tasks)]
    if most:
        rows += [ours(live, options, out, most, 1, idle)]
    print(table(HEAD, rows))
    further = (float(str(rows[2][4])) - float(str(rows[1][4]))) / 10
    print(f"restreamer without tasks: {idle:.2f} % of a core")
    print(f"a further target: {further:.2f} % of a core (bound 0.5: {'held' if further < 0.5 else 'MISSED'})")
    cpu = float(str(rows[0][3]))
    print(f"a task: {cpu:.2f} % of a core (bound 1.5: {'held' if cpu < 1.5 else 'MISSED'})", flush=True)


def paces(live: StackUnderTest, options: Options, out: Sink, seconds: int) -> None:
    """Print how evenly pictures come, ours and ffmpeg's at the same time."""
    ident = start(live, library(live, options.source), [out.url("reelay")])
    play = [*QUIET, "-re", "-stream_loop", "-1", "-i", str(options.source), "-c", "copy", "-f", "flv"]
    with running([[*play, out.url("ffmpeg")]], options.folder / "peers.log"):
        until(lambda: all(len(out.lines(key)) > 30 * WARM_S for key in ("reelay", "ffmpeg")), "pictures", 60)
        skips = {key: len(out.lines(key)) for key in ("reelay", "ffmpeg")}
        time.sleep(seconds)
        rows = [pace(key, out, key, skip) for key, skip in skips.items()]
    stop(live, [ident])
    head = ("pace", "pictures", "p50 ms off", "p99", "most", "longest gap", "least step", "largest step", "drift ms/h")
    print(table(head, rows), flush=True)


if __name__ == "__main__":
    main()
