"""An hour's recording as one MP4, and exact clips, beside others: `make bench BENCH=export`.

`python -m tests.bench.bench_export [--smartcut PROGRAM] [--runs 3] [--folder F] [--only whole]`

1080p30 at 5 Mbps with GOPs of 2 s, in the recorder's segments. The hour is exported whole to a faststart MP4, by us and
by `ffmpeg -c copy -movflags +faststart` from the same segments. Clips of 10 s, 60 s, 10 min and nearly 1 h, with both
points inside a GOP, are cut by us, by ffmpeg's re-encode (60 s at most) and by PyPI's smartcut, where it is given.
Each runs as a process of its own: wall clock, CPU and greatest memory are the process's. Writes 12 GB.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from services.clipper.cutting import CutSource, Run, Segment, cut_exact, plan_cut, verify_clip
from tests.bench.bench_cut import GOP_TICKS, encode, record
from tests.bench.common import QUIET, machine, median, table

MINUTES = 57
LENGTH_S = MINUTES * 64
IN_POINT = Fraction(31, 30)
CLIPS_S = (10, 60, 600, 3600)
EXPORT_MB = 150


class Cost(NamedTuple):
    """What a process cost: seconds, CPU seconds, MB."""

    wall: float
    cpu: float
    memory: float


def cost_of(command: Sequence[str | Path], out: Path, fed: Sequence[Path] = ()) -> Cost:
    """Run a command, with files fed to its standard input, and measure it until its file is on the disk."""
    os.sync()  # it does not wait for what others wrote
    with tempfile.TemporaryFile() as words:
        began = time.perf_counter()
        feeder = subprocess.Popen(["cat", *fed], stdout=subprocess.PIPE) if fed else None
        given = feeder.stdout if feeder else subprocess.DEVNULL
        process = subprocess.Popen(command, stdin=given, stdout=words, stderr=words)
        _, status, usage = os.wait4(process.pid, 0)
        with out.open("rb") as made:
            os.fsync(made.fileno())
        wall = time.perf_counter() - began
        if feeder:
            feeder.wait()
        words.seek(0)
        assert os.waitstatus_to_exitcode(status) == 0, (command, words.read()[-2000:])
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def cut(folder: Path, start: Fraction, end: Fraction, out: Path) -> None:
    """Cut a clip of the segments of `folder`; the work of the child processes."""
    files = sorted(folder.glob("*.m4s"))
    per_minute = len(files) // MINUTES
    length = per_minute * GOP_TICKS
    segments = tuple(
        Segment(path, number // per_minute * length + number % per_minute * GOP_TICKS, GOP_TICKS)
        for number, path in enumerate(files)
    )
    plan = plan_cut(CutSource((Run(folder / "init-0.mp4", segments, Fraction(0)),)), start, end)
    verify_clip(cut_exact(plan, out), plan)


def ours(folder: Path, start: Fraction, end: Fraction, out: Path) -> list[str | Path]:
    """Return the command that cuts as a service does: with its allocator, without rich, which images do not have."""
    from services.cli.stack import ALLOCATOR  # noqa: PLC0415  its modules are none of what is measured

    program = "import sys; sys.modules['rich'] = None; from tests.bench.bench_export import main; main()"
    command = [sys.executable, "-c", program, "--cut", folder, str(start), str(end), out]
    return ["env", *(f"{name}={value}" for name, value in ALLOCATOR.items()), *command]


def export_rows(folder: Path, out: Path, runs: int) -> list[list[object]]:
    """Export the whole hour, by turns."""
    parts = [folder / "init-0.mp4", *sorted(folder.glob("*.m4s"))]
    copy = [*QUIET[:-2], "-y", "-i", "pipe:0", "-map", "0", "-c", "copy", "-movflags", "+faststart", str(out)]
    works: dict[str, Callable[[], Cost]] = {
        "reelay": lambda: cost_of(ours(folder, Fraction(0), Fraction(LENGTH_S), out), out),
        "ffmpeg -c copy": lambda: cost_of(copy, out, parts),
    }
    found: dict[str, list[Cost]] = {name: [] for name in works}
    for _ in range(runs):
        for name, work in works.items():
            out.unlink(missing_ok=True)
            found[name].append(work())
    wall = {name: median([cost.wall for cost in costs]) for name, costs in found.items()}
    memory = max(cost.memory for cost in found["reelay"])
    held = wall["reelay"] <= wall["ffmpeg -c copy"] and memory < EXPORT_MB
    return [
        row(f"{LENGTH_S // 60} min whole, {name}", costs, ("held" if held else "MISSED") if name == "reelay" else "")
        for name, costs in found.items()
    ]


def clip_rows(folder: Path, encoded: Path, out: Path, smartcut: str, runs: int) -> list[list[object]]:
    """Cut clips of each length, by turns."""
    joined = out.with_name("joined.mp4")
    with joined.open("wb") as file:
        for part in [folder / "init-0.mp4", *sorted(folder.glob("*.m4s"))]:
            with part.open("rb") as source:
                shutil.copyfileobj(source, file)
    found: list[list[object]] = []
    for seconds in CLIPS_S:
        start, end = IN_POINT, IN_POINT + seconds
        anew = [*QUIET, "-ss", str(float(start)), "-i", str(encoded), "-t", str(seconds), "-c:v", "libx264", "-preset",
                "veryfast", "-crf", "16", "-c:a", "copy", "-movflags", "+faststart", str(out)]  # fmt: skip
        peer = [smartcut, joined, out, "--keep", f"{float(start)},{float(end)}"]
        works: dict[str, list[str | Path]] = {"reelay": ours(folder, start, end, out)}
        works |= {"ffmpeg, encoded anew": list(anew)} if seconds <= 60 else {}
        works |= {"smartcut": peer} if smartcut else {}
        costs: dict[str, list[Cost]] = {name: [] for name in works}
        for _ in range(runs):
            for name, command in works.items():
                out.unlink(missing_ok=True)
                costs[name].append(cost_of(command, out))
        found += [row(f"clip of {seconds} s, {name}", all_of, "") for name, all_of in costs.items()]
    return found


def row(name: str, costs: Sequence[Cost], bound: str) -> list[object]:
    columns = [median(list(column)) for column in zip(*costs, strict=True)]
    return [name, len(costs), *columns, bound]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smartcut", default="", help="the program, from a venv of its own")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", choices=("whole", "clips"), help="a part of the table")
    parser.add_argument("--folder", type=Path, help="where to work, instead of the temporary folder")
    parser.add_argument("--cut", nargs=4, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.cut:
        cut(Path(asked.cut[0]), Fraction(asked.cut[1]), Fraction(asked.cut[2]), Path(asked.cut[3]))
        return
    print(machine(), flush=True)
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        folder = Path(name)
        encoded = folder / "encoded.mp4"
        encode(encoded, 64, "h264")
        record(encoded, folder / "hour", MINUTES, "h264")
        out, rows = folder / "out.mp4", list[list[object]]()
        if asked.only != "clips":
            rows += export_rows(folder / "hour", out, asked.runs)
        if asked.only != "whole":
            rows += clip_rows(folder / "hour", encoded, out, asked.smartcut, asked.runs)
    print("1080p30, 5 Mbps H.264 + AAC, GOPs of 2 s; medians; each a process of its own, until its file is on the disk")
    print(f"bound: no slower than ffmpeg -c copy, below {EXPORT_MB} MB")
    print(table(("", "runs", "wall s", "CPU s", "MB", ""), rows))


if __name__ == "__main__":
    main()
