"""Eight long clips at once, while a stream is recorded and clipped: `make bench BENCH=crowd`.

`python -m tests.bench.bench_crowd [--minutes 20] [--clips 8]`

A stack has a recording of `minutes` of 1080p30 at 5 Mbps, and records the same from a running encoder. All long clips
are requested at once; until they are finished, a clip of 10 s of the running stream is requested every few seconds.
Bounds: nothing of the running stream is lost, its fast files are there within 1 s.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from tests.bench.bench_clip import downloads
from tests.bench.common import QUIET, machine, quantile, running, table
from tests.bench.common_hour import feed
from tests.bench.common_media import Stream, make_stream, write_flv
from tests.support.stack import StackUnderTest, stack, until

FAST_S, PAUSE_S, PATIENCE_S = 1.0, 3.0, 900
CLIP_S = 10


def fast(live: StackUnderTest, job: str) -> float:
    """Request a clip of the last seconds; return how long its first file takes."""
    began = time.perf_counter()
    clip = live.clip(job, duration=CLIP_S)
    while not downloads(live, clip):
        assert time.perf_counter() - began < PATIENCE_S
        time.sleep(0.01)
    return time.perf_counter() - began


def crowd(live: StackUnderTest, stream: Stream, folder: Path, minutes: int, clips: int) -> list[list[object]]:
    """Cut the long clips beside the stream; return the table's rows."""
    long = live.job()
    asyncio.run(feed(live.folder, live.run["nats_url"], long, stream, minutes * 60))
    job = live.job()
    source = write_flv(stream, 20 * 60, folder / "source.flv")
    url = f"{job['stream_url']}/{job['stream_name']}"
    send = [*QUIET, "-re", "-i", str(source), "-map", "0", "-c", "copy", "-f", "flv", url]
    with running([send], folder / "publisher.log") as senders:
        until(lambda: live.state(job["id"]) == "processing", "the stream")
        time.sleep(3 * CLIP_S)
        alone = [fast(live, job["id"]) for _ in range(5)]
        began = time.perf_counter()
        made = [
            live.clip(long["id"], stream_start_time=1 + number / 30, stream_end_time=minutes * 60 - 5.5)
            for number in range(clips)
        ]
        beside: list[float] = []
        while any(live.get(f"/v1/vods/{clip}")["jvod_state"] != "finished" for clip in made):
            assert time.perf_counter() - began < PATIENCE_S
            beside.append(fast(live, job["id"]))
            time.sleep(PAUSE_S)
        took = time.perf_counter() - began
        assert senders[0].poll() is None, "the stream ended too early"
        gaps = live.finished(live.clip(job["id"], stream_start_time=0, duration=int(took)), PATIENCE_S)["gaps"]
    assert all(live.get(f"/v1/vods/{clip}")["accuracy"] == "frame" for clip in made)
    word = "held" if max(beside) <= FAST_S and not gaps else "MISSED"
    return [
        [f"clips of {minutes} min at once, all exact", clips, took, "", ""],
        ["fast file of 10 s, nothing beside it", len(alone), quantile(alone, 0.5), max(alone), ""],
        [
            "fast file of 10 s beside them",
            len(beside),
            quantile(beside, 0.5),
            max(beside),
            word,
        ],
        ["gaps of the running stream", len(gaps), "", "", ""],
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=int, default=20)
    parser.add_argument("--clips", type=int, default=8)
    asked = parser.parse_args()
    print(machine(), flush=True)
    with tempfile.TemporaryDirectory() as name, stack(Path(name) / "stack") as live:
        rows = crowd(live, make_stream(Path(name)), Path(name), asked.minutes, asked.clips)
    print("1080p30, 5 Mbps H.264 + AAC, GOPs of 2 s; seconds: median, most")
    print(table(("", "", "s", "most s", ""), rows))


if __name__ == "__main__":
    main()
