"""CPU and memory of RTMP ingest compared with ffmpeg: `python -m tests.bench.bench_rtmp [--streams 20] [--seconds 20]`.

Every row takes the same publishers (ffmpeg, copying one 5 Mbps H.264 + AAC file in real time); measured is the
receiving process, or all receiving processes together. CPU is user + system time in percent of one core, per stream.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import av
import imageio_ffmpeg
import psutil

from services.ingester.rtmp import Publication, RtmpLimits, RtmpServer
from shared.runtime.logging import configure_logging
from tests.bench.common_sink import Forgetting
from tests.support.rtmp_flv import FlvFile

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
QUIET = [FFMPEG, "-hide_banner", "-loglevel", "error", "-nostdin"]
SETTLE_S = 5


def make_source(folder: Path) -> Path:
    """Encode 20 s of 1080p30 at a constant 5 Mbps with 128 kbps AAC."""
    path = folder / "source.flv"
    picture = "testsrc2=size=1920x1080:rate=30:duration=20,noise=alls=20:allf=t"
    rate = ["-b:v", "5M", "-minrate", "5M", "-maxrate", "5M", "-bufsize", "2500k", "-x264-params", "nal-hrd=cbr"]
    inputs = ["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", "sine=r=48000:d=20", "-ac", "2"]
    video = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "60", *rate]
    subprocess.run([*QUIET, *inputs, *video, "-c:a", "aac", "-b:a", "128k", str(path)], check=True)
    return path


def parse_only(publication: Publication[str]) -> None:
    """Read the messages."""
    for _ in publication.receive(Forgetting()):
        pass


def frames(publication: Publication[str]) -> None:
    """Read the frames in them."""
    for _ in publication.frames():
        pass


def demux(publication: Publication[str]) -> None:
    """Let PyAV demux every packet."""
    file = FlvFile(publication)
    while True:
        with av.open(file, format="flv", buffer_size=131072, options=dict(file.options)) as container:
            for _ in container.demux():
                pass
        if not file.next_run():
            return


SERVERS = {
    "parse": (parse_only, RtmpLimits()),
    "parse, a read a packet": (parse_only, RtmpLimits(low_water=1)),
    "parse, 128 KiB at once": (parse_only, RtmpLimits(low_water=128 * 1024)),
    "parse + frames": (frames, RtmpLimits()),
    "parse + PyAV demux": (demux, RtmpLimits()),
}


def serve(name: str) -> None:
    """Run the server of a row; print the port, run until stdin closes."""
    configure_logging("bench", json=True)
    consumer, limits = SERVERS[name]
    server = RtmpServer("127.0.0.1", 0, lambda request: request.stream_name, consumer, limits)
    server.start()
    print(json.dumps({"port": server.port}), flush=True)
    sys.stdin.read()


@contextmanager
def running(commands: list[list[str]], **options: object) -> Iterator[list[subprocess.Popen[str]]]:
    """Run commands; end them, each by its own handle."""
    processes = [subprocess.Popen(command, text=True, **options) for command in commands]  # type: ignore[call-overload]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()


def free_port() -> int:
    """Return a free port, for a server that cannot take 0."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def publishers(source: Path, urls: list[str]) -> list[list[str]]:
    """Return commands that publish the source to each URL in real time, for ever."""
    head = [*QUIET, "-re", "-stream_loop", "-1", "-i", str(source), "-c", "copy", "-f", "flv"]
    return [[*head, url] for url in urls]


class Found(NamedTuple):
    """What a row took, per stream: CPU in percent of a core, memory in MiB, context switches a second.

    `rate` is the traffic of the loopback interface in Mbps: it shows that the publishers kept their pace.
    """

    user: float
    system: float
    memory: float
    switches: float
    rate: float


def context_switches(pid: int) -> int:
    """Return the context switches of all threads of a process."""
    found = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        fields = dict(line.split(":\t", 1) for line in (task / "status").read_text().splitlines())
        found += int(fields["voluntary_ctxt_switches"]) + int(fields["nonvoluntary_ctxt_switches"])
    return found


def measure(processes: list[subprocess.Popen[str]], seconds: int, streams: int) -> Found:
    """Measure the receiving processes for a while."""
    watched = [psutil.Process(process.pid) for process in processes]

    def spent() -> tuple[float, float, int, float]:
        times = [process.cpu_times() for process in watched]
        switches = sum(context_switches(process.pid) for process in watched)
        traffic = psutil.net_io_counters(pernic=True)["lo"].bytes_recv * 8 / 1e6
        return sum(t.user for t in times), sum(t.system for t in times), switches, traffic

    before, began = spent(), time.monotonic()
    time.sleep(seconds)
    after, elapsed = spent(), time.monotonic() - began
    user, system, switches, rate = ((b - a) / elapsed / streams for a, b in zip(before, after, strict=True))
    memory = sum(process.memory_info().rss for process in watched) / 2**20
    return Found(user * 100, system * 100, memory / streams, switches, rate)


def ours(name: str, source: Path, streams: int, seconds: int) -> Found:
    """Measure one of our servers, in its own process."""
    command = [sys.executable, "-m", "tests.bench.bench_rtmp", "--serve", name]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with running([command], **pipes) as servers:
        port = json.loads(servers[0].stdout.readline())["port"]
        urls = [f"rtmp://127.0.0.1:{port}/live/stream-{index}" for index in range(streams)]
        with running(publishers(source, urls), stderr=subprocess.DEVNULL):
            time.sleep(SETTLE_S)
            return measure(servers, seconds, streams)


def ffmpegs(output: list[str], source: Path, folder: Path, streams: int, seconds: int) -> Found:
    """Measure one listening ffmpeg per stream."""
    ports = [free_port() for _ in range(streams)]
    urls = [f"rtmp://127.0.0.1:{port}/live/stream" for port in ports]
    commands = []
    for index, url in enumerate(urls):
        place = folder / f"out-{index}"
        place.mkdir(exist_ok=True)
        target = [part.format(place=place) for part in output]
        commands.append(
            [
                FFMPEG,
                "-hide_banner",
                "-loglevel",
                "fatal",
                "-nostdin",
                "-y",
                "-listen",
                "1",
                "-i",
                url,
                "-c",
                "copy",
                *target,
            ]
        )
    with running(commands) as servers:
        time.sleep(2)
        with running(publishers(source, urls), stderr=subprocess.DEVNULL):
            time.sleep(SETTLE_S)
            return measure(servers, seconds, streams)


HLS = ["-f", "hls", "-hls_segment_type", "fmp4", "-hls_time", "2", "-hls_flags", "delete_segments", "{place}/a.m3u8"]
PEERS = {
    "ffmpeg -listen, null output": ["-f", "null", "-"],
    "ffmpeg -listen, HLS fMP4": HLS,
}


def main() -> None:
    """Measure every row and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=20)
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
        print(f"{arguments.streams} publishers of 5 Mbps, {arguments.seconds} s, {psutil.cpu_count()} cores")
        columns = f"{'CPU %':>7} {'user':>6} {'system':>7} {'MiB':>6} {'switches/s':>11} {'Mbps':>6}"
        print(f"{'receiver':32} {columns}  (all per stream)")
        for row in [*SERVERS, *PEERS]:
            if arguments.only not in row:
                continue
            size = arguments.streams, arguments.seconds
            found = ours(row, source, *size) if row in SERVERS else ffmpegs(PEERS[row], source, folder, *size)
            cpu = f"{found.user + found.system:7.2f} {found.user:6.2f} {found.system:7.2f}"
            print(f"{row:32} {cpu} {found.memory:6.1f} {found.switches:11.1f} {found.rate:6.2f}", flush=True)


if __name__ == "__main__":
    main()
