"""Clips around 4 GiB: offsets and the media's size have 64 bits exactly when 32 do not suffice. No media is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from services.clipper.cutting.layout import read_layout
from services.clipper.movie.movie import MovieTrack, Plan, plan_movie
from services.clipper.movie.sample_places import places_of
from shared.media.model import SampleTable
from shared.media.mp4.boxes import find, need
from shared.media.mp4.init import aac_config

LIMIT = 0xFFFFFFFF
HALF = (1 << 31) - 2000


def planned(last: int) -> Plan:
    """Plan a file of three samples: two of 2 GiB less a little, and one of `last` bytes."""
    sizes = np.array([HALF, HALF, last], np.int64)
    at, zeros = np.arange(3, dtype=np.int64) * 48000, np.zeros(3, np.int64)
    offsets = np.cumsum(sizes) - sizes
    table = SampleTable(
        at, at, np.full(3, 48000, np.int64), sizes, np.ones(3, np.bool_), offsets, zeros, (Path("source"),)
    )
    return plan_movie([MovieTrack(aac_config(b"\x11\x90"), table)])


HEAD = len(planned(1).head)
"""Bytes before the media with 32-bit offsets and sizes."""


@pytest.mark.parametrize("over", [-1000, -1, 0, 1, 8, 9, 16, 1000, 1 << 30])
def test_a_large_file_is_whole_on_both_sides_of_4_gib(over: int, tmp_path: Path) -> None:
    rest = LIMIT - HEAD - 2 * HALF
    plan = planned(rest + over)
    with (tmp_path / "clip.mp4").open("wb") as file:
        file.write(plan.head)
        file.truncate(plan.bytes)
    (track,) = read_layout(tmp_path / "clip.mp4")
    assert track.media_bytes == plan.bytes - len(plan.head)
    moov = plan.head[28:]
    table = need(moov, need(moov, None, b"moov"), b"trak", b"mdia", b"minf", b"stbl")
    places = places_of(moov, table)
    assert places.offset.tolist() == [len(plan.head) + n * HALF for n in range(3)]
    assert (find(moov, table, b"co64") is None) == (plan.bytes <= LIMIT)
    assert (plan.head[-16:-8] == b"\0\0\0\1mdat") == (plan.bytes - len(plan.head) + 8 > LIMIT)
