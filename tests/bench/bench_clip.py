"""Time from the request for a clip to its files: `make bench BENCH=clip`.

`python -m tests.bench.bench_clip [--clips 20] [--hour]`

A whole stack records a running 1080p30 5 Mbps H.264 + AAC stream by RTMP (B-frames, GOPs of 2 s). Clips of 60 s that
start and end inside a GOP and are already recorded are requested one after the other. `fast` is the time from the POST
to the first bytes of the segment-accurate file by GET, `exact` that to `accuracy: frame`. For comparison ffmpeg encodes
the same range again, from the same segments, with the preset and quality of exact clips' seams.

`--hour` also cuts clips of 1 h, from an hour that the recorder records at full speed (2.3 GB; 10 GB on disk at most).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av

from shared.media.seams.encode import QUALITY
from tests.bench.common import QUIET, machine, median, quantile, running, table
from tests.bench.common_hour import feed
from tests.bench.common_media import RATE, Stream, make_stream, write_flv
from tests.support.stack import StackUnderTest, stack, until

MINUTE, HOUR = 60, 3600
BOUNDS = {MINUTE: (0.3, 3.0), HOUR: (10.0, 15.0)}
FAST_LOOK_S, EXACT_LOOK_S = 0.01, 0.025
PRESET = "superfast"  # with QUALITY, the settings of exact clips' seams
PATIENCE_S = 300
MARGIN_S = 8  # recorded beyond the range before the first clip is requested


class Timed(NamedTuple):
    """A clip, and the seconds from the POST to its two files."""

    clip: str
    fast: float
    exact: float


def ask(live: StackUnderTest, job: str, start: Fraction, seconds: int) -> Timed:
    """Request a clip and wait for both files, and until it is delivered."""
    window = {"stream_start_time": float(start), "stream_end_time": float(start + seconds)}
    began = time.perf_counter()
    clip = live.clip(job, **window)
    while not downloads(live, clip):
        assert time.perf_counter() - began < PATIENCE_S, live.get(f"/v1/vods/{clip}")
        time.sleep(FAST_LOOK_S)
    fast = time.perf_counter() - began
    while (vod := live.get(f"/v1/vods/{clip}"))["accuracy"] != "frame":
        assert vod["jvod_state"] not in {"failed", "error"}, vod
        assert time.perf_counter() - began < PATIENCE_S, vod
        time.sleep(EXACT_LOOK_S)
    exact = time.perf_counter() - began
    live.finished(clip, PATIENCE_S)
    return Timed(clip, fast, exact)


def downloads(live: StackUnderTest, clip: str) -> bool:
    """Return whether the first bytes of the file can be read."""
    with live.api.stream("GET", f"/v1/vods/{clip}/media.mp4") as answer:
        return answer.status_code == 200 and bool(next(answer.iter_raw(), b""))


def check(live: StackUnderTest, clip: str, seconds: int) -> str:
    """Check the number of frames of a clip; return how it was made."""
    vod = live.get(f"/v1/vods/{clip}")
    with av.open(str(live.folder / vod["location"])) as container:
        frames = sum(1 for packet in container.demux(video=0) if packet.size)
    assert frames == seconds * RATE, f"{frames} frames in {seconds} s"
    return str(vod["method"])


def in_point(number: int) -> Fraction:
    """Return an in point inside a GOP, a different one for each clip."""
    return 2 * (number % 3) + Fraction(15 + 3 * (number % 10), RATE)


def minutes(live: StackUnderTest, stream: Stream, folder: Path, clips: int) -> tuple[list[Timed], float, str]:
    """Cut clips of a minute from a running stream; also return the peer's time, and how the last clip was made."""
    job = live.job()
    source = write_flv(stream, MINUTE + MARGIN_S + 30 + 10 * clips, folder / "source.flv")
    url = f"{job['stream_url']}/{job['stream_name']}"
    send = [*QUIET, "-re", "-i", str(source), "-map", "0", "-c", "copy", "-f", "flv", url]
    with running([send], folder / "publisher.log") as senders:
        until(lambda: live.state(job["id"]) == "processing", "the stream")
        time.sleep(MINUTE + MARGIN_S)
        timed = [ask(live, job["id"], in_point(number), MINUTE) for number in range(clips)]
        assert senders[0].poll() is None, "the stream ended before the clips were cut"
    method = check(live, timed[-1].clip, MINUTE)
    return timed, encode(live.folder / "media" / "live" / job["id"], folder, in_point(clips - 1), MINUTE), method


def encode(recording: Path, folder: Path, start: Fraction, seconds: int) -> float:
    """Encode a range of a recording again with ffmpeg; return the seconds that it takes."""
    track = next(recording.glob("*/primary-1"))
    joined, out = folder / "joined.mp4", folder / "encoded.mp4"
    with joined.open("wb") as file:
        for part in [track / "init-0.mp4", *sorted(track.glob("*.m4s"))]:
            file.write(part.read_bytes())
    began = time.perf_counter()
    cut = ["-ss", str(float(start)), "-i", str(joined), "-t", str(seconds)]
    made = ["-c:v", "libx264", "-preset", PRESET, "-crf", str(QUALITY), "-c:a", "copy", "-movflags", "+faststart"]
    subprocess.run([*QUIET, *cut, *made, str(out)], check=True)
    return time.perf_counter() - began


def hours(live: StackUnderTest, stream: Stream, clips: int) -> tuple[list[Timed], str]:
    """Cut clips of an hour; each is removed before the next one is requested."""
    job: dict[str, Any] = live.job()
    began = time.perf_counter()
    asyncio.run(feed(live.folder, live.run["nats_url"], job, stream, HOUR + 16))
    until(lambda: live.state(job["id"]) == "disconnected", "the session to be over")
    print(f"an hour recorded in {time.perf_counter() - began:.0f} s", flush=True)
    timed: list[Timed] = []
    method = ""
    for number in range(clips):
        os.sync()  # this clip is not to wait for earlier writes
        timed.append(ask(live, job["id"], in_point(number), HOUR))
        method = check(live, timed[-1].clip, HOUR)
        for folder in (live.folder / "media" / "clips", live.folder / "library"):
            shutil.rmtree(folder)
    return timed, method


def rows(name: str, timed: Sequence[Timed], seconds: int) -> list[list[object]]:
    """Return the rows of one length of clip."""
    found: list[list[object]] = []
    for kind, bound in zip(("fast", "exact"), BOUNDS[seconds], strict=True):
        values = [getattr(one, kind) for one in timed]
        held = "held" if median(values) <= bound else "MISSED"
        spread = [min(values), median(values), quantile(values, 0.95), max(values)]
        found.append([f"reelay, {name}, {kind}", len(values), *spread, bound, held])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=20, help="clips of 60 s; 0: none")
    parser.add_argument("--hour", action="store_true", help="also clips of 1 h")
    parser.add_argument("--hour-clips", type=int, default=3)
    arguments = parser.parse_args()
    print(machine(), flush=True)
    found: list[list[object]] = []
    notes: list[str] = []
    with tempfile.TemporaryDirectory() as name, stack(Path(name) / "stack") as live:
        folder = Path(name)
        stream = make_stream(folder)
        if arguments.clips:
            timed, peer, method = minutes(live, stream, folder, arguments.clips)
            found += rows("60 s", timed, MINUTE)
            found.append(["ffmpeg, 60 s encoded anew", 1, peer, peer, peer, peer, "", ""])
            speed = peer / MINUTE
            notes += [
                f"exact clips of 60 s: {method}; ffmpeg: libx264 {PRESET}, CRF {QUALITY}, {speed:.2f} of real time"
            ]
        if arguments.hour:
            timed, method = hours(live, stream, arguments.hour_clips)
            found += rows("1 h", timed, HOUR)
            notes += [f"exact clips of 1 h: {method}; ffmpeg encodes 1 h in about 60 times its time for 60 s"]
    print("1080p30, 5 Mbps H.264 + AAC, GOPs of 2 s; seconds from the POST, bounds are for the median")
    print(table(("", "clips", "least", "median", "p95", "most", "bound", ""), found))
    print("\n".join(notes))


if __name__ == "__main__":
    main()
