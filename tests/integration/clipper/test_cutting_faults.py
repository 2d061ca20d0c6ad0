"""Damage, torn files, stops and lying clips: a clear error or an honest clip, and nothing left behind."""

from __future__ import annotations

import random
import resource
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from threading import Event

import pytest

from services.clipper.cutting import (
    ClipFaulty,
    CutError,
    CutPlan,
    CutResult,
    SegmentUnreadable,
    Stopped,
    cut_exact,
    cut_fast,
    plan_cut,
    verify_clip,
)
from shared.errors import Permanent
from tests.support.framecode import play
from tests.support.framecode_record import Recording, Spec, record

GOP = 60


@pytest.fixture(scope="module", params=["h264", "hevc"])
def recording(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return record(Spec(request.param, gop=GOP), tmp_path_factory.mktemp("recording"))


@pytest.fixture
def plan(recording: Recording) -> CutPlan:
    return plan_cut(recording.source(), recording.time(30), recording.time(150))


@pytest.fixture
def middle(recording: Recording) -> Iterator[Path]:
    """The recording's second segment, put back as it was after the test."""
    path = recording.segments[1].path
    content = path.read_bytes()
    yield path
    path.write_bytes(content)


@pytest.mark.parametrize("how", ["cut short", "header only", "empty", "garbage", "gone"])
def test_unreadable_segment_is_named(how: str, recording: Recording, middle: Path) -> None:
    content = middle.read_bytes()
    if how == "gone":
        middle.unlink()
    else:
        short = {"cut short": len(content) - 300, "header only": 60, "empty": 0, "garbage": 0}[how]
        middle.write_bytes(content[:short] + (b"\0\1garbage" * 500 if how == "garbage" else b""))
    with pytest.raises(SegmentUnreadable) as caught:
        plan_cut(recording.source(), Fraction(1), Fraction(5))
    assert caught.value.path == middle
    assert isinstance(caught.value, Permanent)
    assert str(middle.parent) not in str(caught.value)
    # A clip beside it needs nothing of it.
    assert plan_cut(recording.source(), recording.time(10), recording.time(20)).exact.frames == 10


def test_segment_that_shrinks_after_planning_leaves_no_clip(plan: CutPlan, middle: Path, tmp_path: Path) -> None:
    middle.write_bytes(middle.read_bytes()[:200])
    for cut in (cut_exact, cut_fast):
        with pytest.raises(CutError):
            cut(plan, tmp_path / "clip.mp4")
    assert list(tmp_path.iterdir()) == []


def test_stop_is_honoured_and_leaves_nothing(plan: CutPlan, tmp_path: Path) -> None:
    stop = Event()
    stop.set()
    for cut in (cut_exact, cut_fast):
        with pytest.raises(Stopped):
            cut(plan, tmp_path / "clip.mp4", stop)
    assert list(tmp_path.iterdir()) == []
    result = cut_exact(plan, tmp_path / "clip.mp4")
    with pytest.raises(Stopped):
        verify_clip(result, plan, stop)


def test_full_disk_leaves_nothing(plan: CutPlan, tmp_path: Path) -> None:
    """A limit on file size stands for a full disk: writing fails in the middle of the media."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, before[1]))
    try:
        with pytest.raises(OSError, match="large"):
            cut_fast(plan, tmp_path / "clip.mp4")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


# Rows of the recording's samples in the GOP of the in point, in the copied middle, and in the GOP of the out point.
@pytest.mark.parametrize(("row", "where"), [(45, "head"), (70, "middle"), (60, "keyframe"), (145, "tail")])
def test_damaged_pictures_do_not_stop_a_clip(row: int, where: str, recording: Recording, tmp_path: Path) -> None:
    plan = plan_cut(recording.source(), recording.time(30), recording.time(150))
    table = plan.exact.spans[0].video.table
    path, start = table.files[int(table.source[row])], int(table.offset[row])
    content = path.read_bytes()
    size = int(table.size[row])
    spoiled = content[: start + 6] + b"\xa5" * (size - 6) + content[start + size :]
    path.write_bytes(spoiled)
    try:
        result = cut_exact(plan, tmp_path / "clip.mp4")
        verify_clip(result, plan)
    finally:
        path.write_bytes(content)
    assert (result.frames, result.duration) == (120, Fraction(4))
    if where == "head":
        assert result.damaged
        numbers = play(result.path).numbers
        assert len(numbers) == 120
        assert numbers[60:] == list(range(90, 150))


@pytest.mark.parametrize("seed", range(6))
def test_random_damage_never_stops_a_clip(seed: int, recording: Recording, tmp_path: Path) -> None:
    """Bytes changed anywhere in the pictures: the clip has all its frames, and the check tells it from a fault."""
    chance = random.Random(seed)
    table = plan_cut(recording.source(), Fraction(0), Fraction(100)).exact.spans[0].video.table
    originals = {path: path.read_bytes() for path in table.files}
    spoiled = {path: bytearray(content) for path, content in originals.items()}
    for _ in range(60):
        row = chance.randrange(len(table))
        at = int(table.offset[row]) + chance.randrange(int(table.size[row]))
        spoiled[table.files[int(table.source[row])]][at] = chance.randrange(256)
    first, end = chance.randrange(0, 80), chance.randrange(90, 180)
    try:
        for path, content in spoiled.items():
            path.write_bytes(content)
        plan = plan_cut(recording.source(), recording.time(first), recording.time(end))
        result = cut_exact(plan, tmp_path / "clip.mp4")
        verify_clip(result, plan)
    finally:
        for path, original in originals.items():
            path.write_bytes(original)
    assert result.frames == end - first


def test_clip_that_lies_is_found_out(plan: CutPlan, tmp_path: Path) -> None:
    result = cut_exact(plan, tmp_path / "clip.mp4")
    verify_clip(result, plan)
    good = result.path.read_bytes()
    for name, spoiled in _lies(good, result, plan):
        result.path.write_bytes(spoiled)
        assert _faulty(result, plan), f"{name} was not noticed"
    result.path.write_bytes(good)
    verify_clip(result, plan)


def _faulty(result: CutResult, plan: CutPlan) -> bool:
    try:
        verify_clip(result, plan)
    except ClipFaulty:
        return True
    return False


def _lies(good: bytes, result: CutResult, plan: CutPlan) -> Iterator[tuple[str, bytes]]:
    media = good.index(b"mdat") + 4
    yield "cut short", good[:-10]
    yield "empty", b""
    yield "garbage", b"garbage" * 100
    yield "no moov", good[: good.index(b"moov") - 4] + good[media - 8 :]
    yield "moov behind", good[:28] + good[media - 8 :] + good[28 : media - 8]
    yield "first pictures", good[:media] + bytes(20000) + good[media + 20000 :]
    yield "last pictures", good[:-20000] + bytes(20000)
    stts = good.index(b"stts")
    count = struct.unpack_from(">I", good, stts + 12)[0]
    yield "one frame less", good[: stts + 12] + struct.pack(">I", count - 1) + good[stts + 16 :]
    yield "longer frames", good[: stts + 16] + struct.pack(">I", 3001) + good[stts + 20 :]
    stsz = good.index(b"stsz")
    size = struct.unpack_from(">I", good, stsz + 16)[0]
    yield "wrong sizes", good[: stsz + 16] + struct.pack(">I", size + 1) + good[stsz + 20 :]
