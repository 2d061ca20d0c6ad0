"""Kills, freezes and hostile peers during two live events of which clips are cut all the time; counts the losses.

    python -m tests.bench.chaos [seconds] [seed]

Two of each service on one nats-server; one encoder by RTMP, one by SRT, each of which goes to the other ingester when
it is cut off. Prints a table at the end, and exits with 1 when something acknowledged was lost, wrong, reported twice
or out of order, or when a recording has a gap that no kill and no freeze explains.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

from shared.media.timeline import Timeline
from shared.recording.log import read_log
from tests.bench.chaos_clients import Api, Encoder, Receiver
from tests.bench.chaos_peers import Peers
from tests.bench.chaos_stack import Stack, plan, stack
from tests.support import framecode, framecode_record
from tests.support.media_streams import encode
from tests.support.recordings import connected

RATE, LOOP, HELD = 30, 900, 9
"""Pictures per second and per loop; where ffmpeg restarts the loop, the last picture lasts HELD pictures longer."""
KILLS, FREEZES = 28, 8
REORDERED = 3
"""How many pictures early one with B-frames before it may be sent: a tenth of a second, the least gap reported."""
CLIP_EVERY_S = 5.0
PATIENCE_S = 240.0
AROUND_S = (4.0, 30.0)
"""How long before a fault a gap may start (data not yet written), and how long after it (until all is up again)."""


@dataclass
class Clip:
    """A clip that was acknowledged, and its result."""

    ident: str
    job: str
    asked: str
    length: float
    """Seconds; a clip without a start ends at the moment of its request."""
    at: float = field(default_factory=time.time)
    state: str = ""
    verdict: str = ""

    def lies_in(self, spans: list[tuple[float, float]]) -> bool:
        """Return whether all of the requested range is in spans (wall clock, s) of which nothing was recorded."""
        return "duration" in self.asked and any(
            start - 1 < self.at - self.length and self.at < end + 1 for start, end in spans
        )


@dataclass
class Chaos:
    """One run."""

    live: Stack
    api: Api
    seconds: float
    dice: random.Random
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    clips: list[Clip] = field(default_factory=list)
    refused: Counter[int] = field(default_factory=Counter)

    def ask_for_clips(self, began: float, stop: threading.Event) -> None:
        """Request clips of the recordings at intervals, of the present or of the past."""
        while not stop.wait(CLIP_EVERY_S):
            name = self.dice.choice(list(self.jobs))
            now = time.monotonic() - began
            length = self.dice.randrange(3, 12)
            if self.dice.random() < 0.5 or now < 40:
                output: dict[str, Any] = {"label": "clip", "duration": length}
            else:
                start = self.dice.uniform(max(0.0, now - 120), now - 30)
                output = {
                    "label": "clip",
                    "stream_start_time": f"{start:.3f}",
                    "stream_end_time": f"{start + length:.3f}",
                }
            body = {"live_job_id": self.jobs[name]["id"], "outputs": [output]}
            try:
                answer = self.api.ask("POST", "/v1/vods", body)
            except TimeoutError:
                self.refused[0] += 1
                continue
            if answer.is_success:
                ident = str(answer.json()["vod_jobs"][0]["jvod_id"])
                self.clips.append(Clip(ident, name, json.dumps(output), length))
            else:
                self.refused[answer.status_code] += 1

    def torment(self) -> None:
        """Kill and freeze according to the plan."""
        began = time.monotonic()
        for moment, name, seconds in plan(self.seconds, round(KILLS * self.seconds / 600) or 3,
                                          round(FREEZES * self.seconds / 600) or 1, self.dice):  # fmt: skip
            time.sleep(max(0.0, began + moment - time.monotonic()))
            if seconds:
                self.live.freeze(name, seconds)
            else:
                self.live.kill(name)
            print(f"{moment:6.1f} s  {self.live.faults[-1].name} {self.live.faults[-1].kind}", flush=True)
        time.sleep(max(0.0, began + self.seconds - time.monotonic()))

    def check_clips(self, folder: Path) -> None:
        """Wait until every clip has ended, and check every picture of it."""
        until = time.monotonic() + PATIENCE_S
        for clip in self.clips:
            made: dict[str, Any] = {}
            while time.monotonic() < until:
                made = self.api.ask("GET", f"/v1/vods/{clip.ident}").json()
                clip.state = str(made["jvod_state"])
                if clip.state in {"finished", "failed", "error", "cancelled"}:
                    break
                time.sleep(0.5)
            if clip.state != "finished":
                clip.verdict = f"{clip.state}: {made.get('error') or made.get('error_message') or ''}"
                continue
            path = folder / "clip.mp4"
            path.write_bytes(self.api.ask("GET", f"/v1/vods/{clip.ident}/media.mp4").content)
            clip.verdict = look(path, made)

    def check_told(self, told: list[tuple[str, str, str]]) -> tuple[int, list[str]]:
        """Return how many webhooks were repeated with the same id, and what was reported wrongly."""
        seen: dict[str, tuple[str, str]] = {}
        again = 0
        by_clip: defaultdict[str, list[str]] = defaultdict(list)
        for ident, clip, what in told:
            if ident in seen:
                again += 1
                continue
            seen[ident] = (clip, what)
            by_clip[clip].append(what)
        wrong = []
        for clip in self.clips:
            said = by_clip[clip.ident]
            if len(set(said)) != len(said):
                wrong.append(f"{clip.ident} was told twice: {said}")
            exact = [at for at, what in enumerate(said) if "frame_accurate" in what]
            fast = [at for at, what in enumerate(said) if "segment_accurate" in what]
            if clip.state == "finished" and (len(exact) != 1 or len(fast) > 1 or (fast and fast[0] > exact[0])):
                wrong.append(f"{clip.ident} was told out of order, or not: {said}")
        return again, wrong

    async def gaps(self) -> dict[str, list[tuple[float, float]]]:
        """Return each recording's gaps by the wall clock."""
        found: dict[str, list[tuple[float, float]]] = {}
        async with connected(f"nats://127.0.0.1:{self.live.nats}") as js:
            for name, job in self.jobs.items():
                line = Timeline(one.segment for one in await read_log(js, "main", job["id"]))
                starts = [(float(line.to_wall(gap.start)), float(gap.duration)) for gap in line.gaps(line.span)]
                found[name] = [(start, start + length) for start, length in starts]
        return found

    def strange(self, gaps: dict[str, list[tuple[float, float]]]) -> list[str]:
        """Return the gaps that no fault explains."""
        return [
            f"{name}: {end - start:.2f} s at {start:.2f}"
            for name, spans in gaps.items()
            for start, end in spans
            if not any(f.start - AROUND_S[0] < end and start < f.end + AROUND_S[1] for f in self.live.faults)
        ]

    def forgive(self, gaps: dict[str, list[tuple[float, float]]]) -> None:
        """Accept that a clip was not made where its recording has a gap, which a fault explains."""
        for clip in self.clips:
            if clip.state == "failed" and "nothing was recorded" in clip.verdict and clip.lies_in(gaps[clip.job]):
                clip.verdict = "exact: nothing was there"


def look(path: Path, made: dict[str, Any]) -> str:
    """Return what is wrong with a clip: pictures that were not requested, or are missing without a reported gap."""
    seen = framecode.play(path)
    if seen.warnings:
        return f"ffmpeg: {seen.warnings[:80]}"
    numbers, gaps = seen.numbers, [gap for gap in made["gaps"] if gap.get("track") != "audio"]
    breaks = [at for at, (before, after) in enumerate(pairwise(numbers)) if (after - before) % LOOP != 1]
    torn = [at for at in breaks if is_torn_end(numbers, at, breaks)]
    if len(breaks) - len(torn) > len(gaps):
        steps = [f"{numbers[at]} to {numbers[at + 1]} at {at}" for at in breaks]
        return f"{len(gaps)} gaps told, breaks in the pictures: {', '.join(steps)}"
    inside = float(made["made"]["out_point"]) - float(made["made"]["in_point"])
    missing = sum(float(gap["duration"]) for gap in gaps)
    wanted = (inside - min(missing, inside)) * RATE
    held = HELD * sum(before == LOOP - 1 for before in numbers)
    if not gaps and not -1 - held <= len(numbers) - inside * RATE <= 1:
        return f"{len(numbers)} pictures in {inside:.2f} s"
    if len(numbers) < wanted - held - 2 * len(gaps) - 1:
        return f"{len(numbers)} pictures, {wanted:.0f} are told"
    return "exact" if not gaps else "exact, with gaps"


def is_torn_end(numbers: list[int], at: int, breaks: list[int]) -> bool:
    """Return whether a break is what a kill leaves within an unfinished GOP, just before the reported gap.

    B-frames are sent after the reference shown after them: those of the last one are missing, for less than a gap.
    """
    before_gap = any(0 < other - at <= REORDERED for other in breaks)
    return before_gap and 1 < (numbers[at + 1] - numbers[at]) % LOOP <= REORDERED


def main() -> None:
    """Run the program of the module's docstring."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 600.0
    seed = sys.argv[2] if len(sys.argv) > 2 else "1"
    with tempfile.TemporaryDirectory(prefix="chaos-") as name:
        sys.exit(run(Path(name), seconds, seed))


def run(folder: Path, seconds: float, seed: str) -> int:
    """Make the sources, the stack and the peers; torment; return the report's exit code."""
    source, small = folder / "programme.mp4", folder / "small.flv"
    framecode_record.encode(framecode_record.Spec(gop=60, seconds=Fraction(LOOP, RATE)), source)
    encode(small, video="h264-b", seconds=20, gop=30, size="96x64")
    receiver, stop = Receiver(), threading.Event()
    with stack(folder, uuid4().hex) as live:
        key = folder / "data" / "admin.key"
        while not key.exists() or not key.read_text().strip():
            time.sleep(0.1)
        api = Api(live.http, key.read_text().strip())
        chaos = Chaos(live, api, seconds, random.Random(seed))
        api.ask("POST", "/v1/webhooks", {"url": receiver.url, "events": ["clips.*"]})
        damaged = api.ask("POST", "/v1/jobs", {"name": "damaged"}).json()
        encoders = []
        for protocol in ("rtmp", "srt"):
            job = api.ask("POST", "/v1/jobs", {"name": protocol, "reconnect_time": 1800}).json()
            chaos.jobs[protocol] = job
            if protocol == "rtmp":
                urls = [f"rtmp://127.0.0.1:{port}/live/{job['stream_name']}" for port in live.rtmp]
            else:
                urls = [_at_port(job["srt_url"], port) for port in live.srt]
            encoders.append(Encoder(urls, "flv" if protocol == "rtmp" else "mpegts", source, stop))
        peers = Peers(live.http, live.rtmp, live.srt, damaged["stream_name"], small.read_bytes(), seed, stop)
        threads = [threading.Thread(target=encoder.run, daemon=True) for encoder in encoders]
        for thread in threads:
            thread.start()
        peers.start()
        began = time.monotonic()
        asking = threading.Thread(target=chaos.ask_for_clips, args=(began, stop), daemon=True)
        asking.start()
        chaos.torment()
        stop.set()
        for thread in (*threads, asking):
            thread.join(90)
        chaos.check_clips(folder)
        time.sleep(20)  # what a killed notifier had in work is redelivered
        again, wrong = chaos.check_told(receiver.told)
        gaps = asyncio.run(chaos.gaps())
        chaos.forgive(gaps)
        return report(chaos, encoders, peers, again, wrong, gaps)


def report(
    chaos: Chaos, encoders: list[Encoder], peers: Peers, again: int, wrong: list[str],
    gaps: dict[str, list[tuple[float, float]]],
) -> int:  # fmt: skip
    """Print the table; return the exit code."""
    kinds = Counter(fault.kind.split()[0] for fault in chaos.live.faults)
    verdicts = Counter(clip.verdict for clip in chaos.clips)
    strange = chaos.strange(gaps)
    bad = [clip for clip in chaos.clips if not clip.verdict.startswith("exact")]
    rows = {
        "kills / freezes": f"{kinds['killed']} / {kinds['frozen']}",
        "clips acknowledged": len(chaos.clips),
        "clips refused or unanswered": dict(chaos.refused) or 0,
        "verdicts": dict(verdicts),
        "webhooks told again with the same id": again,
        "told wrongly": len(wrong),
        "encoders' connections": [encoder.connections for encoder in encoders],
        "gaps of the recordings (s)": {n: [round(end - start, 1) for start, end in spans] for n, spans in gaps.items()},
        "gaps that nothing explains": len(strange),
        "hostile peers' rounds": dict(peers.done),
        "tracebacks in logs": chaos.live.logged("Traceback"),
        "starts of more than once": {n: s.starts for n, s in chaos.live.slots.items() if s.starts > 1},
    }
    for name, value in rows.items():
        print(f"{name:40} {value}")
    for line in (
        *(f"{clip.ident} {clip.job} {clip.asked} {clip.state} {clip.verdict}" for clip in bad),
        *wrong,
        *strange,
    ):
        print("FAILED", line)
    return int(bool(bad or wrong or strange))


def _at_port(url: str, port: int) -> str:
    head, _, rest = url.removeprefix("srt://").partition("?")
    return f"srt://{head.rpartition(':')[0]}:{port}?{rest}"


if __name__ == "__main__":
    main()
