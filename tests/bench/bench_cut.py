"""Cutting clips compared with ffmpeg's full re-encode: `python -m tests.bench.bench_cut [--hour] [--runs 5]`.

Clips are cut from a recording of 1080p30 at 5 Mbps with GOPs of 2 s, with both points inside a GOP. Instead of
an hour ffmpeg re-encodes 60 s of it, which the table says; no number in it is extrapolated. Times are
wall clock; CPU is user + system time of the process and its children in seconds.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import imageio_ffmpeg

from services.clipper.cutting import CutSource, Run, Segment, cut_exact, cut_fast, plan_cut, verify_clip
from shared.media.mp4.fragments import FragmentWriter, Sample
from shared.media.mp4.init import aac_config, build_init, video_config

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
QUIET = [FFMPEG, "-hide_banner", "-loglevel", "error", "-nostdin", "-y"]
VIDEO, AUDIO = 1, 2
GOP_TICKS, RATE = 180_000, 90_000


class Row(NamedTuple):
    """A row of the table."""

    clip: str
    work: str
    wall: float
    cpu: float
    note: str


def encode(path: Path, seconds: int, codec: str) -> None:
    """Encode a moving, noisy picture and a tone."""
    picture = f"testsrc2=size=1920x1080:rate=30:duration={seconds},noise=alls=14:allf=t"
    inputs = ["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", f"sine=r=48000:d={seconds}", "-ac", "2"]
    common = "keyint=60:min-keyint=60:scenecut=0:bframes=2"
    if codec == "h264":
        video = ["-c:v", "libx264", "-preset", "superfast", "-x264-params", common]
    else:
        video = ["-c:v", "libx265", "-preset", "ultrafast", "-tag:v", "hvc1", "-x265-params",
                 f"{common}:open-gop=0:log-level=error"]  # fmt: skip
    rate = ["-b:v", "5M", "-maxrate", "5M", "-bufsize", "5M", "-pix_fmt", "yuv420p"]
    subprocess.run([*QUIET, *inputs, *video, *rate, "-c:a", "aac", "-b:a", "128k", str(path)], check=True)


def record(encoded: Path, folder: Path, repeats: int, codec: str) -> CutSource:
    """Write segments of one GOP in parts of half a second; the same minute `repeats` times, with continuous times."""
    folder.mkdir()
    with av.open(str(encoded)) as container:
        extra = {stream.type: bytes(stream.codec_context.extradata or b"") for stream in container.streams}
        samples = _samples(container)
    configs = [
        video_config("h264" if codec == "h264" else "hevc", extra["video"], RATE),
        aac_config(extra["audio"]),
    ]
    init = folder / "init-0.mp4"
    init.write_bytes(build_init(configs))
    length = len(samples[VIDEO]) * 3000
    parts = _parts(samples, length)
    segments: list[Segment] = []
    writer = FragmentWriter(configs)
    for repeat in range(repeats):
        for first in range(0, len(parts), 4):
            path = folder / f"{len(segments):08d}.m4s"
            moved = (_moved(part, repeat * length) for part in parts[first : first + 4])
            path.write_bytes(b"".join(writer.part(part) for part in moved))
            start = first // 4 * GOP_TICKS
            segments.append(Segment(path, repeat * length + start, min(GOP_TICKS, length - start)))
    return CutSource((Run(init, tuple(segments), Fraction(0)),))


def _samples(container: av.container.InputContainer) -> dict[int, list[Sample]]:
    """Read all packets, with times from 0 at the first picture's decode time."""
    samples: dict[int, list[Sample]] = {VIDEO: [], AUDIO: []}
    zero: Fraction | None = None
    for packet in container.demux():
        if packet.dts is None or packet.pts is None:
            continue
        track, scale, length = (VIDEO, RATE, 3000) if packet.stream.type == "video" else (AUDIO, 48000, 1024)
        zero = packet.dts * packet.time_base if zero is None and track == VIDEO else zero
        if zero is not None and packet.dts * packet.time_base >= zero:
            dts, pts = (round((at * packet.time_base - zero) * scale) for at in (packet.dts, packet.pts))
            samples[track].append(Sample(dts, pts, length, packet.is_keyframe, bytes(packet)))
    return samples


def _parts(samples: dict[int, list[Sample]], length: int) -> list[dict[int, list[Sample]]]:
    """Sort samples into parts of half a second; drop those after `length` ticks."""
    parts: list[dict[int, list[Sample]]] = [{VIDEO: [], AUDIO: []} for _ in range(-(-length * 4 // GOP_TICKS))]
    for track, scale in ((VIDEO, RATE), (AUDIO, 48000)):
        for sample in samples[track]:
            if sample.dts * RATE < length * scale:
                parts[sample.dts * RATE * 4 // (scale * GOP_TICKS)][track].append(sample)
    return parts


def _moved(part: dict[int, list[Sample]], ticks: int) -> dict[int, list[Sample]]:
    shifts = {VIDEO: ticks, AUDIO: ticks * 48000 // RATE}
    return {
        track: [s._replace(dts=s.dts + shifts[track], pts=s.pts + shifts[track]) for s in run]
        for track, run in part.items()
    }


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    before = _cpu()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start, _cpu() - before


def _cpu() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def measure(source: CutSource, name: str, seconds: int, folder: Path, runs: int) -> Iterator[Row]:
    """Cut a clip of `seconds` fast and exactly, `runs` times each, and yield medians."""
    start, end = Fraction(31, 30), Fraction(31, 30) + seconds
    fast, exact = folder / "fast.mp4", folder / "exact.mp4"
    notes: dict[str, str] = {}
    works: dict[str, Callable[[], None]] = {}

    def plan() -> None:
        plan_cut(source, start, end)

    def cut_whole_segments() -> None:
        cut_fast(plan_cut(source, start, end), fast)

    def cut_frames() -> None:
        result = cut_exact(plan_cut(source, start, end), exact)
        notes["exact cut"] = f"{result.method}: {result.encoded} of {result.frames} frames encoded"

    def check() -> None:
        verify_clip(checked, checked_plan)

    works = {"plan": plan, "fast cut": cut_whole_segments, "exact cut": cut_frames}
    for work, function in works.items():
        yield _median(name, work, function, runs, notes)
    checked_plan = plan_cut(source, start, end)
    checked = cut_exact(checked_plan, exact)
    yield _median(name, "verify", check, runs, notes)
    notes["cp"] = f"{exact.stat().st_size / 1e6:.0f} MB"
    yield _median(name, "cp", lambda: subprocess.run(["cp", str(exact), str(fast)], check=True), runs, notes)


def _median(name: str, work: str, function: Callable[[], object], runs: int, notes: dict[str, str]) -> Row:
    taken = [_timed(function) for _ in range(runs)]
    wall, cpu = (statistics.median(column) for column in zip(*taken, strict=True))
    return Row(name, work, wall, cpu, notes.get(work, ""))


def reencode(encoded: Path, name: str, codec: str, out: Path, note: str) -> Row:
    """Re-encode 60 s from the middle of a GOP with ffmpeg, with the presets of our seams."""
    video = (
        ["-c:v", "libx264", "-preset", "veryfast"] if codec == "h264" else ["-c:v", "libx265", "-preset", "superfast"]
    )
    quality = ["-crf", "16", *(["-x265-params", "log-level=error"] if codec == "hevc" else [])]
    command = [*QUIET, "-ss", "1.0333", "-i", str(encoded), "-t", "60", *video, *quality, "-c:a", "copy", str(out)]
    wall, cpu = _timed(lambda: subprocess.run(command, check=True))
    return Row(name, "ffmpeg re-encode", wall, cpu, note)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hour", action="store_true", help="also cut an hour (writes 7 GB)")
    parser.add_argument("--hevc", action="store_true", help="also cut HEVC")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to work, instead of the temporary folder")
    options = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        for codec in ["h264", *(["hevc"] if options.hevc else [])]:
            encoded = folder / f"{codec}.mp4"
            encode(encoded, 64, codec)
            source = record(encoded, folder / codec, 1, codec)
            rows += measure(source, f"{codec} 60 s", 60, folder, options.runs)
            rows.append(reencode(encoded, f"{codec} 60 s", codec, folder / "peer.mp4", "all frames encoded"))
            if options.hour and codec == "h264":
                source = record(encoded, folder / "hour", 57, codec)
                rows += measure(source, "h264 1 h", 3600, folder, max(options.runs // 2, 1))
                rows.append(rows[5]._replace(clip="h264 1 h", note="of 60 s only, measured above"))
    print(f"1080p30, 5 Mbps, GOP 2 s; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; median of {options.runs}")
    print(f"{'clip':<12}{'work':<20}{'wall s':>9}{'CPU s':>9}  note")
    for row in rows:
        print(f"{row.clip:<12}{row.work:<20}{row.wall:>9.3f}{row.cpu:>9.2f}  {row.note}")


if __name__ == "__main__":
    main()
