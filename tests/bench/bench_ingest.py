"""Cost and losses of ingest compared with ffmpeg: `make bench BENCH=ingest`.

`python -m tests.bench.bench_ingest [--rtmp 20] [--srt 10] [--seconds 30]`

A whole stack runs; real ffmpeg publishers send one 1080p30 5 Mbps H.264 + AAC file in real time (copied, B-frames,
GOPs of 2 s), each to a job of its own. What is measured is the ingester process: CPU is user + system time in percent
of one core and per stream, memory is what it grew by per stream since before the first publisher. Beside it one
listening ffmpeg process a stream writes fMP4 HLS, in the same run with the same publishers; of RTMP also one process of
nginx-rtmp, which writes the messages that it gets into FLV files. SRT is encrypted for both.
Every packet in the segments is held against the file's: `lost` counts those missing before the last one that was
recorded, `tail` those after it.
"""

from __future__ import annotations

import argparse
import socket
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from tests.bench.common import QUIET, Spent, free_port, load, machine, running, spent, table
from tests.bench.common_media import Loss, Packets, compare, make_stream, packets, recorded, write_flv
from tests.support.nginx_rtmp import missing, nginx_rtmp
from tests.support.stack import StackUnderTest, stack, until

WARM_S = 8
TAIL_S = 8  # publishers begin one after the other, and looking at many processes takes a while too
APART_S = 0.1
HLS = ["-f", "hls", "-hls_segment_type", "fmp4", "-hls_time", "2"]
SECRET = "correct-horse-battery"
BOUND = {"rtmp": 0.8, "srt": 0.9}
CONTAINER = {"rtmp": "flv", "srt": "mpegts"}
HEAD = ("receiver", "streams", "CPU %", "user", "system", "MB grown", "MB whole", "segments", "packets", "lost", "tail")


class Found(NamedTuple):
    """A receiver's row; CPU in percent of a core and memory in MiB, both per stream."""

    name: str
    streams: int
    user: float
    system: float
    grown: float
    whole: float
    segments: int
    loss: Loss

    @property
    def cpu(self) -> float:
        return self.user + self.system

    @property
    def row(self) -> list[object]:
        lost = self.loss.lost + self.loss.strange
        numbers = [self.cpu, self.user, self.system, self.grown, self.whole]
        return [self.name, self.streams, *numbers, self.segments, self.loss.kept, lost, self.loss.tail]


class Options(NamedTuple):
    """What is sent, and how long is measured."""

    source: Path
    sent: Packets
    seconds: int
    folder: Path


def publish(options: Options, protocol: str, urls: Sequence[str]) -> list[list[str]]:
    """Return the commands that publish the file once, in real time."""
    send = ["-re", "-i", str(options.source), "-map", "0", "-c", "copy", "-f", CONTAINER[protocol]]
    return [[*QUIET, *send, url] for url in urls]


def measured(options: Options, protocol: str, urls: Sequence[str], pids: Sequence[int]) -> tuple[Spent, Spent]:
    """Measure the receivers at start and end of the time; return when the publishers have sent everything."""
    with running(publish(options, protocol, urls), options.folder / "publishers.log", APART_S) as senders:
        time.sleep(WARM_S)
        before = spent(pids)
        time.sleep(options.seconds)
        after = spent(pids)
        assert all(sender.poll() is None for sender in senders), (options.folder / "publishers.log").read_text()
        for sender in senders:
            sender.wait(60)
    return before, after


def found(name: str, looks: tuple[Spent, Spent], base: float, parts: list[list[Path]], sent: Packets) -> Found:
    """Return a row of two measurements and the files on disk: an init segment and its segments per stream."""
    took, after, streams = load(*looks), looks[1], len(parts)
    losses = [compare(sent, recorded(files)) for files in parts]
    loss = Loss(*(sum(column) for column in zip(*losses, strict=True)))
    grown = (after.resident - base) / streams
    segments = sum(len(files) - 1 for files in parts)
    return Found(
        name, streams, took.user / streams, took.system / streams, grown, after.resident / streams, segments, loss
    )


def ours(live: StackUnderTest, options: Options, protocol: str, streams: int) -> tuple[Found, Spent]:
    """Publish to the stack; also return what the ingester used before."""
    jobs = [live.job() for _ in range(streams)]
    pid = live.pid("ingester")
    time.sleep(2)
    idle = spent([pid])
    looks = measured(options, protocol, [url_of(job, protocol) for job in jobs], [pid])
    for job in jobs:
        until(lambda job=job: live.state(job["id"]) != "processing", "the streams to end")  # type: ignore[misc]
    assert live.pid("ingester") == pid, "the ingester was started again"
    parts = [segments_of(live.folder / "media" / "live" / job["id"]) for job in jobs]
    return found(f"reelay, {protocol}", looks, idle.resident, parts, options.sent), idle


def url_of(job: dict[str, Any], protocol: str) -> str:
    """Return the URL to publish to."""
    return f"{job['stream_url']}/{job['stream_name']}" if protocol == "rtmp" else str(job["srt_url"])


def segments_of(folder: Path) -> list[Path]:
    """Return the one session's init segment and segments."""
    inits = sorted(folder.glob("*/primary-1/init-*.mp4"))
    assert len(inits) == 1, inits
    return [inits[0], *sorted(inits[0].parent.glob("*.m4s"))]


def ffmpegs(options: Options, protocol: str, streams: int) -> Found:
    """Publish to one listening ffmpeg per stream."""
    folders = [options.folder / f"{protocol}-{index}" for index in range(streams)]
    ports = [free_port(socket.SOCK_STREAM if protocol == "rtmp" else socket.SOCK_DGRAM) for _ in folders]
    commands = []
    for folder, port in zip(folders, ports, strict=True):
        folder.mkdir()
        target = [*HLS, "-hls_fmp4_init_filename", "init.mp4", str(folder / "live.m3u8")]
        if protocol == "rtmp":
            source = ["-listen", "1", "-i", f"rtmp://127.0.0.1:{port}/live/stream"]
        else:
            source = ["-i", f"srt://127.0.0.1:{port}?mode=listener&passphrase={SECRET}"]
            target = ["-bsf:a", "aac_adtstoasc", *target]  # MP4 needs it for the AAC of MPEG-TS
        commands.append([*QUIET, *source, "-c", "copy", *target])
    end = "/live/stream" if protocol == "rtmp" else f"?pkt_size=1316&passphrase={SECRET}"
    with running(commands, options.folder / "peers.log") as receivers:
        until(lambda: all(is_open(receiver.pid) for receiver in receivers), "the peers to listen")
        urls = [f"{protocol}://127.0.0.1:{port}{end}" for port in ports]
        looks = measured(options, protocol, urls, [receiver.pid for receiver in receivers])
        psutil.wait_procs([psutil.Process(r.pid) for r in receivers if r.poll() is None], timeout=10)
    parts = [[folder / "init.mp4", *sorted(folder.glob("*.m4s"), key=number)] for folder in folders]
    return found(f"ffmpeg a stream, {protocol}", looks, 0, parts, options.sent)


def nginx(options: Options, streams: int) -> Found:
    """Publish to one nginx with its RTMP module, which records."""
    folder = options.folder / "nginx"
    folder.mkdir()
    names = [f"stream-{index}" for index in range(streams)]
    with nginx_rtmp(folder) as server:
        urls = [f"rtmp://127.0.0.1:{server.port}/live/{name}" for name in names]
        idle = spent([server.process.pid])
        looks = measured(options, "rtmp", urls, [server.process.pid])
    return found("nginx-rtmp, FLV", looks, idle.resident, [[server.recorded(name)] for name in names], options.sent)


def is_open(pid: int) -> bool:
    """Return whether a process has its port."""
    return bool(psutil.Process(pid).net_connections())


def number(path: Path) -> int:
    """Return a segment's number from its name."""
    return int("".join(filter(str.isdigit, path.stem)))


def verdict(protocol: str, we: Found, peer: Found) -> str:
    """Return how we compare with the peer and the bounds."""
    ratio, bound = we.cpu / peer.cpu, BOUND[protocol]
    lost = we.loss.lost + we.loss.strange
    return (
        f"{protocol}: CPU {ratio:.2f} of ffmpeg's (bound {bound}: {'held' if ratio <= bound else 'MISSED'}); "
        f"{we.grown:.1f} MB a stream (bound 10: {'held' if we.grown < 10 else 'MISSED'}); "
        f"{lost} of {we.loss.kept + lost} packets lost (bound 0: {'held' if not lost else 'MISSED'})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rtmp", type=int, default=20, help="publishers by RTMP; 0 leaves RTMP out")
    parser.add_argument("--srt", type=int, default=10, help="publishers by SRT; 0 leaves SRT out")
    parser.add_argument("--seconds", type=int, default=30)
    arguments = parser.parse_args()
    streams = {"rtmp": arguments.rtmp, "srt": arguments.srt}
    print(machine(), flush=True)
    rows: list[Found] = []
    notes: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        length = WARM_S + arguments.seconds + TAIL_S
        stream = make_stream(folder)
        source = write_flv(stream, length, folder / "source.flv")
        options = Options(source, packets(stream, length), arguments.seconds, folder)
        for protocol in [p for p, count in streams.items() if count]:
            with stack(folder / f"stack-{protocol}") as live:
                we, idle = ours(live, options, protocol, streams[protocol])
            peer = ffmpegs(options, protocol, streams[protocol])
            rows += [we, peer]
            if protocol == "rtmp" and not (why := missing()):
                other = nginx(options, streams[protocol])
                rows.append(other)
                notes.append(f"rtmp: CPU {we.cpu / other.cpu:.2f} of nginx-rtmp's, which writes what comes as it comes")
            elif protocol == "rtmp":
                notes.append(why)
            notes += [f"ingester without publishers: {idle.resident:.0f} MB ({protocol})"]
            notes += [verdict(protocol, we, peer)]
    print(f"1080p30, 5 Mbps H.264 + AAC, {arguments.seconds} s after {WARM_S} s; CPU and memory per stream")
    print(table(HEAD, [row.row for row in rows]))
    print("\n".join(notes))


if __name__ == "__main__":
    main()
