"""Cuts clips of several lengths in one process and tells what each needed: `clip_memory_child FOLDER SECONDS...`.

A line of JSON for each: its peak of memory in bytes beyond what the process had before, its frames, and its gaps.
"""

from __future__ import annotations

import gc
import json
import sys
import threading
from fractions import Fraction
from pathlib import Path

from services.clipper.cutter import ClipCutter
from services.clipper.footage import Footage, Recorded
from tests.support.long_recording import long_recording


def _kilobytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1])


def main(folder: Path, lengths: list[int]) -> None:
    made = long_recording(folder, max(lengths) + 2)
    for length in lengths:
        segments = [one for one in made.segments if one.sequence * 2 < length + 4]
        part = Recorded(segments, Fraction(7, 10), Fraction(7, 10) + length, Fraction(7, 10) + length)
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before = _kilobytes("VmRSS")
        clip = ClipCutter(made.store).exact(Footage((part,)), f"clips/{length}", threading.Event())
        peak = (_kilobytes("VmHWM") - before) << 10
        print(json.dumps({"peak": peak, "frames": clip.file.frames, "gaps": len(clip.gaps)}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(text) for text in sys.argv[2:]])
