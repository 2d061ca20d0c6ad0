"""Where the output was when its process died, to the picture."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from services.restreamer.trail import KEPT, Step, Trails
from shared.messages.restreams import PlaylistCursor, PlayoutRecord
from tests.support.archive import SetClock

KEY = "main." + "a" * 32


def trails(folder: Path) -> Trails:
    return Trails(folder / "restreams", SetClock())


def record(clock: SetClock, **fields: object) -> PlayoutRecord:
    known = {
        "account": "main", "restream": "a" * 32, "run": 7, "holder": "one", "cursor": PlaylistCursor(item=1, at=5),
        "spec_number": 2, "moved": 1, "at_ms": clock.at_ms,
    }  # fmt: skip
    return PlayoutRecord.model_validate(known | fields)


def test_the_last_step_is_read_by_whoever_comes_after_a_kill(tmp_path: Path) -> None:
    one = trails(tmp_path)
    trail = one.begin(KEY, 7)
    for at in range(100):
        trail.note(2, 1, (1, 0, 3, at))
    found = trails(tmp_path).last(KEY)  # the first one was not ended
    assert found is not None
    assert found.cursor == PlaylistCursor(item=1, range=0, loop=3, at=99)
    assert found.continues(record(SetClock()))


@pytest.mark.parametrize(
    "other",
    [
        {"run": 8}, {"spec_number": 3}, {"moved": 2}, {"at_ms": SetClock.at_ms + 1}, {"live": True},
    ],
    ids=str,
)  # fmt: skip
def test_a_step_of_something_else_counts_for_nothing(tmp_path: Path, other: dict[str, object]) -> None:
    """Of another run, list or move, before another machine's word, or under a live event."""
    one = trails(tmp_path)
    one.begin(KEY, 7).note(2, 1, (1, 0, 0, 9))
    found = one.last(KEY)
    assert found is not None
    assert not found.continues(record(SetClock(), **other))


@pytest.mark.parametrize("data", [b"", b"x", bytes(80), b"\1" + bytes(79), b"\xff" * 80, bytes(200)])
def test_a_damaged_file_tells_nothing(tmp_path: Path, data: bytes) -> None:
    one = trails(tmp_path)
    one.begin(KEY, 7).note(2, 1, (1, 0, 0, 9))
    (one.folder / KEY).write_bytes(data)
    found = one.last(KEY)
    assert found is None or not found.continues(record(SetClock()))


def test_what_ended_leaves_no_file_and_what_is_lost_is_left_to_its_new_holder(tmp_path: Path) -> None:
    one = trails(tmp_path)
    one.begin(KEY, 7).note(2, 1, (1, 0, 0, 9))
    one.end(KEY, keep=True)
    assert one.last(KEY) is not None
    one.begin(KEY, 8).note(2, 1, (0, 0, 0, 0))
    one.end(KEY)
    assert list(one.folder.iterdir()) == []
    one.end(KEY)


def test_a_disk_that_takes_nothing_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, tries = trails(tmp_path), []
    trail = one.begin(KEY, 7)

    def full(*_: object) -> int:
        tries.append(1)
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "pwrite", full)
    for at in range(3):
        trail.note(2, 1, (0, 0, 0, at))
    assert len(tries) == 1
    assert one.last(KEY) is None


def test_files_that_nobody_came_back_for_go(tmp_path: Path) -> None:
    one = trails(tmp_path)
    for key, age in (("main.old", KEPT.total_seconds() + 60), ("main.young", 60)):
        trail = one.begin(key, 7)
        trail.note(2, 1, (0, 0, 0, 0))
        os.utime(one.folder / key, (time.time() - age,) * 2)
    one.sweep()
    assert [path.name for path in one.folder.iterdir()] == ["main.young"]
    assert Step(7, 2, 1, 0, 0, 0, 0, SetClock.at_ms) == one.last("main.young")
