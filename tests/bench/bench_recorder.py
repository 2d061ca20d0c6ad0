"""CPU of recording a stream of 5 Mbps, read from a file at full speed, compared with ffmpeg writing fMP4 HLS.

    python -m tests.bench.bench_recorder [rounds]

Prints microseconds of CPU (user and system) per second of media, the least of all rounds: other work on the
machine only adds. Reading from a file excludes the network on both sides.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import structlog

from tests.support.media_recording import Recorded
from tests.support.media_streams import FFMPEG, run

SECONDS = 20
REPEATS = 3


def pieces(path: Path) -> Iterator[bytes]:
    """Read a file as a socket would be."""
    with path.open("rb", buffering=0) as file:
        while data := file.read(65_536):
            yield data


def cpu(who: int) -> float:
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def make(folder: Path) -> list[Path]:
    """Encode 1080p30 at a constant 5 Mbps with a keyframe every 2 s, in both containers."""
    once = folder / "once.flv"
    rate = ("-b:v", "5M", "-maxrate", "5M", "-bufsize", "5M", "-nal-hrd", "cbr")
    run("-v", "error", "-f", "lavfi", "-i", "testsrc2=size=1920x1080:rate=30,noise=alls=20:allf=t", "-f", "lavfi",
        "-i", "sine=440:sample_rate=48000", "-t", str(SECONDS), "-c:v", "libx264", "-preset", "ultrafast", "-g", "60",
        *rate, "-c:a", "aac", "-b:a", "128k", once)  # fmt: skip
    listing = folder / "list.txt"
    listing.write_text(f"file {once.name}\n" * REPEATS)
    made = [folder / "stream.flv", folder / "stream.ts"]
    for path in made:
        run("-v", "error", "-f", "concat", "-i", listing, "-c", "copy", path)
    return made


def ours(path: Path, folder: Path) -> float:
    recorded = Recorded(folder)
    begin = cpu(resource.RUSAGE_SELF)
    recorded.run("flv" if path.suffix == ".flv" else "mpegts", pieces(path))
    used = cpu(resource.RUSAGE_SELF) - begin
    return used / (sum(s.duration for s in recorded.segments) / 90_000)


def theirs(path: Path, folder: Path) -> float:
    folder.mkdir()
    begin = cpu(resource.RUSAGE_CHILDREN)
    adts = ["-bsf:a", "aac_adtstoasc"] if path.suffix == ".ts" else []
    subprocess.run([FFMPEG, "-v", "error", "-i", path, "-c", "copy", *adts, "-f", "hls", "-hls_segment_type", "fmp4",
                    "-hls_time", "2", "-hls_list_size", "0", "index.m3u8"], cwd=folder, check=True)  # fmt: skip
    return (cpu(resource.RUSAGE_CHILDREN) - begin) / (SECONDS * REPEATS)


def main(rounds: int) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(f"{'stream':8}{'recorder':>12}{'ffmpeg':>12}{'ratio':>8}   (us of CPU per s of media, 5 Mbps)")
        for path in make(folder):
            best = [min(measure(path, folder / f"{path.suffix}{label}{i}") for i in range(rounds))
                    for label, measure in (("o", ours), ("t", theirs))]  # fmt: skip
            print(f"{path.suffix[1:]:8}{best[0] * 1e6:12.0f}{best[1] * 1e6:12.0f}{best[0] / best[1]:8.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
