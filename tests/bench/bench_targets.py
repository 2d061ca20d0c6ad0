"""The cost of a restream's targets: `python -m tests.bench.bench_targets [--seconds 30] [--targets 1 11]`.

A programme of 5 Mbps is fed in real time, as playout feeds it: a picture and the sound that is due with it together.
The receivers are in their own processes. CPU is user + system time of the feeding process in percent of one core;
the cost of a further target is the difference between the rows of a format. "feeding alone" has no target.
"""

from __future__ import annotations

import argparse
import ipaddress
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import av

from services.restreamer.model import FLICKS, TargetSpec, Unit
from services.restreamer.targets import TargetRules, Targets
from services.restreamer.targets.rtmp.pack import RtmpPacker
from services.restreamer.targets.srt.ts import TsPacker
from services.restreamer.targets.terms import Tracks
from shared.runtime.clock import SystemClock
from shared.runtime.logging import configure_logging
from tests.bench.bench_rtmp import make_source
from tests.bench.common import machine, table
from tests.support.restream_units import units_of

LOCAL = (ipaddress.ip_network("127.0.0.0/8"),)
TICK_S = 0.02
SETTLE_S = 3
HEAD = ("targets", "CPU %", "a further one %")


@contextmanager
def receivers(form: str) -> Iterator[int]:
    """Run the receiving process; yield its port."""
    command = [sys.executable, "-m", "tests.bench.bench_targets", "--receive", form]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE)
    try:
        assert process.stdout
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


def receive(form: str) -> None:
    """Read and drop whatever is published, until killed."""
    configure_logging("bench", json=False, level="ERROR")
    if form == "rtmp":
        from services.ingester.rtmp import RtmpServer  # noqa: PLC0415  the feeding process does not need it
        from tests.bench.bench_rtmp import parse_only  # noqa: PLC0415

        server = RtmpServer("127.0.0.1", 0, lambda request: request.stream_name, parse_only)
        server.start()
        print(server.port, flush=True)
    else:
        from tests.support.srt_ingest import ingest  # noqa: PLC0415

        with ingest({f"key{n}": None for n in range(64)}) as running:
            print(running.port, flush=True)
            sys.stdin.read()
    sys.stdin.read()


def batches(units: Sequence[Unit]) -> list[list[Unit]]:
    """Group each picture with the sound before the next one."""
    found: list[list[Unit]] = []
    for unit in units:
        if not found or unit.kind == "video":
            found.append([])
        found[-1].append(unit)
    return found


def feed(targets: Targets, parts: Sequence[list[Unit]], seconds: float) -> float:
    """Feed in real time, `SETTLE_S` unmeasured; return the CPU time of the rest in percent of it."""
    began, measured = time.monotonic(), 0.0
    before = os.times()
    for part in parts:
        due = began + part[0].dts / FLICKS
        while (left := due - time.monotonic()) > 0:
            targets.tick()
            time.sleep(min(left, TICK_S))
        if not measured and due - began > SETTLE_S:
            before, measured = os.times(), time.monotonic()
        if due - began > SETTLE_S + seconds:
            break
        targets.feed(part)
    after = os.times()
    spent = after.user + after.system - before.user - before.system
    return spent / (time.monotonic() - measured) * 100


def run(form: str, count: int, parts: Sequence[list[Unit]], seconds: float) -> float:
    """Return the CPU load of `count` targets of a format."""
    with receivers(form) as port:
        where = f"rtmp://127.0.0.1:{port}/live/key" if form == "rtmp" else f"srt://127.0.0.1:{port}?streamid=key"
        targets = Targets(TargetRules(allowed=LOCAL), SystemClock())
        targets.set_targets([TargetSpec(f"{n:016x}", f"{where}{n}", "") for n in range(count)])
        end = time.monotonic() + 20
        while any(status.state != "live" for status in targets.states()):
            assert time.monotonic() < end, targets.states()
            targets.tick()
            time.sleep(TICK_S)
        spent = feed(targets, parts, seconds)
        assert all(status.state == "live" and not status.dropped for status in targets.states()), targets.states()
        targets.close()
    return spent


def packing(units: Sequence[Unit]) -> list[list[object]]:
    """Measure packing alone, and PyAV's MPEG-TS muxer for comparison; CPU in percent of real time."""
    tracks = Tracks()
    for unit in units:
        if unit.track is not None:
            tracks.learn(unit.track)
    length = (units[-1].dts - units[0].dts) / FLICKS
    rows: list[list[object]] = []
    for name, packer in (("RTMP", RtmpPacker()), ("MPEG-TS", TsPacker())):
        packer.configure(tracks, ("video", "audio"), 0)
        before = time.process_time()
        for part in batches(units):
            packer.pack(part)
        rows.append([f"packing {name}", (time.process_time() - before) / length * 100, ""])
    return rows


def pyav_row(source: Path, units: Sequence[Unit]) -> list[object]:
    """Measure PyAV's muxer, which writes the same packets to a file object."""

    class Sink:
        def write(self, data: bytes) -> int:
            return len(data)

    length = (units[-1].dts - units[0].dts) / FLICKS
    with av.open(str(source)) as given, av.open(Sink(), "w", format="mpegts") as out:
        streams = {stream.index: out.add_stream_from_template(stream) for stream in given.streams}
        shapes = [(p.stream_index, bytes(p), p.is_keyframe) for p in given.demux() if p.dts is not None]
        base = {index: stream.time_base for index, stream in enumerate(given.streams)}
        before = time.process_time()
        for number, unit in enumerate(units):
            index, data, key = shapes[number % len(shapes)]
            packet = av.Packet(data)
            packet.time_base = base[index]
            packet.dts, packet.pts = unit.dts * 1000 // FLICKS, unit.pts * 1000 // FLICKS
            packet.is_keyframe, packet.stream = key, streams[index]
            out.mux(packet)
        spent = time.process_time() - before
    return ["packing MPEG-TS, PyAV's muxer", spent / length * 100, ""]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--targets", type=int, nargs=2, default=(1, 11))
    parser.add_argument("--formats", nargs="+", default=("rtmp", "srt"))
    parser.add_argument("--receive", default="")
    asked = parser.parse_args()
    if asked.receive:
        receive(asked.receive)
        return
    configure_logging("bench", json=False, level="ERROR")
    with tempfile.TemporaryDirectory() as folder:
        source = make_source(Path(folder))
        units = list(units_of(source, loops=int(asked.seconds + SETTLE_S) // 20 + 2))
        parts = batches(units)
        rows = [*packing(units), pyav_row(source, units)]
        rows.append(["feeding alone", feed(Targets(TargetRules(), SystemClock()), parts, asked.seconds), ""])
        few, many = asked.targets
        for form in asked.formats:
            one, all_ = (run(form, count, parts, asked.seconds) for count in (few, many))
            rows.append([f"{form.upper()} {few}", one, ""])
            rows.append([f"{form.upper()} {many}", all_, (all_ - one) / (many - few)])
    print(f"{machine()}, {asked.seconds:g} s at 5 Mbps")
    print(table(HEAD, rows))


if __name__ == "__main__":
    main()
