"""Clips of hours: what a cut keeps in memory is a line per frame and packet, and nothing of what they are made of."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

HOUR = 3600
# A row of a sample table, in the tables of recording, clip and reader, and what is computed from them.
PER_SAMPLE = 240
SAMPLES_A_SECOND = 30 + 47  # frames, and packets of sound
WARMING_UP = 48 << 20  # decoders, encoders, buffers


def test_three_hours_need_a_table_of_their_samples_and_no_more(tmp_path: Path) -> None:
    lengths = [20, HOUR, 3 * HOUR]
    command = [sys.executable, "-m", "tests.support.clip_memory_child", str(tmp_path), *map(str, lengths)]
    done = subprocess.run(command, capture_output=True, check=False, timeout=170)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    made = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(one["frames"], one["gaps"]) for one in made] == [(30 * length, 0) for length in lengths]
    for length, one in zip(lengths, made, strict=True):
        assert one["peak"] < WARMING_UP + PER_SAMPLE * SAMPLES_A_SECOND * length, made
