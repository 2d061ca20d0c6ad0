"""The library's folder: locks, old files, deletions beside deliveries."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.exporter.destinations import library_folder as library
from services.exporter.destinations.library import Seen
from shared.errors import NotYet
from shared.store.library_folder import FolderLibrary
from shared.store.reserve import Reserve

ACCOUNT = "main"


def test_old_files_go_and_locks_that_nobody_holds(tmp_path: Path) -> None:
    kept = library.FolderShelf(tmp_path, Reserve(tmp_path, 0))
    folder = tmp_path / ACCOUNT
    (folder / library.LOCKS).mkdir(parents=True)
    for name, age_s in (("old.mp4", 100), ("new.mp4", 10), ("busy.mp4", 100)):
        (folder / name).write_bytes(b"x")
        os.utime(folder / name, (1000 - age_s, 1000 - age_s))
    (folder / library.LOCKS / ("0" * 32)).touch()  # of a delivery that was killed, with what it had written
    (folder / f".draft-{'0' * 32}").write_bytes(b"x")
    assert kept.expire(0) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["busy.mp4", "new.mp4", "old.mp4"]
    with kept.exclusive(ACCOUNT, "busy.mp4"):
        assert kept.expire(950_000) == 1
        assert [path.name for path in sorted(folder.glob("*.mp4"))] == ["busy.mp4", "new.mp4"]
        with pytest.raises(NotYet), kept.exclusive(ACCOUNT, "busy.mp4"):
            pass
    assert kept.expire(950_000) == 1
    assert [path.name for path in folder.iterdir()] == ["new.mp4"]


def test_a_file_that_is_delivered_while_old_ones_go_stays(tmp_path: Path) -> None:
    path = tmp_path / ACCOUNT / "goal.mp4"

    class Overtaken(library.FolderShelf):
        """Another exporter delivers just before."""

        @contextlib.contextmanager
        def exclusive(self, account: str, name: str) -> Iterator[None]:
            with super().exclusive(account, name):
                path.write_bytes(b"new")
                yield

    path.parent.mkdir()
    path.write_bytes(b"old")
    os.utime(path, (900, 900))
    assert Overtaken(tmp_path, Reserve(tmp_path, 0)).expire(950_000) == 0
    assert path.read_bytes() == b"new"


def test_the_file_that_was_to_be_deleted_is_and_not_one_delivered_since(tmp_path: Path) -> None:
    """The wish comes late, or twice."""
    path, kept = tmp_path / ACCOUNT / "goal.mp4", library.FolderShelf(tmp_path, Reserve(tmp_path, 0))
    path.parent.mkdir()
    path.write_bytes(b"old")
    wished = FolderLibrary(tmp_path).look(ACCOUNT, "goal.mp4")
    assert wished is not None
    seen = Seen(wished.version, wished.modified_ms)
    path.with_name("draft").write_bytes(b"exacter")
    path.with_name("draft").replace(path)
    kept.remove(ACCOUNT, "goal.mp4", seen)
    assert path.read_bytes() == b"exacter"
    kept.remove(ACCOUNT, "goal.mp4")
    assert not path.exists()


def test_a_lock_is_held_by_one_however_often_its_file_comes_and_goes(tmp_path: Path) -> None:
    kept = library.FolderShelf(tmp_path, Reserve(tmp_path, 0))
    inside, most, entered = 0, 0, 0
    guard = threading.Lock()

    def contend() -> None:
        nonlocal inside, most, entered
        for _ in range(300):
            with contextlib.suppress(NotYet), kept.exclusive(ACCOUNT, "one.mp4"):
                with guard:
                    inside, entered = inside + 1, entered + 1
                    most = max(most, inside)
                with guard:
                    inside -= 1

    threads = [threading.Thread(target=contend) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert entered > 100
    assert most == 1
