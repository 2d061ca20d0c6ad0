"""What stores leave on a machine's disk, and folders that somebody empties while another writes into them."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.errors import ReelayError
from shared.runtime.settings import Settings
from shared.store import MediaStore, local
from shared.store.local import LocalStore
from shared.store.opening import open_store
from tests.support.s3 import s3_server

READER = """
import sys, time
from pathlib import Path
from shared.runtime.settings import Settings
from shared.store.opening import open_store
store = open_store(Settings(data_dir=Path(sys.argv[1]), store=sys.argv[2], s3_endpoint=sys.argv[3]))
with store.local("clips/a/b/frame.mp4") as path:
    print(path, flush=True)
    time.sleep(60)
"""


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with s3_server("media") as endpoint:
        yield endpoint


def opened(folder: Path, s3: str) -> MediaStore:
    return open_store(Settings(data_dir=folder, store="s3://media/spool", s3_endpoint=s3))


def test_what_a_killed_process_had_fetched_goes_and_what_a_living_one_has_stays(tmp_path: Path, s3: str) -> None:
    opened(tmp_path, s3).put("clips/a/b/frame.mp4", b"movie")
    command = [sys.executable, "-c", READER, str(tmp_path), "s3://media/spool", s3]
    readers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        dead, alive = (Path(reader.stdout.readline().strip()) for reader in readers if reader.stdout is not None)
        assert (dead.read_bytes(), alive.read_bytes()) == (b"movie", b"movie")
        readers[0].kill()
        readers[0].wait(10)
        with opened(tmp_path, s3).local("clips/a/b/frame.mp4") as path:
            assert path.read_bytes() == b"movie"
            assert not dead.parent.exists()
            assert alive.read_bytes() == b"movie"
        assert not path.exists()
    finally:
        for reader in readers:
            reader.kill()
            reader.communicate()


def test_a_spool_that_somebody_empties_is_made_again(tmp_path: Path, s3: str) -> None:
    store = opened(tmp_path, s3)
    store.put("clips/a/b/frame.mp4", b"movie")
    for _ in range(2):
        with store.local("clips/a/b/frame.mp4") as path:
            assert path.read_bytes() == b"movie"
        subprocess.run(["rm", "-r", str(tmp_path / "spool")], check=True)


@pytest.mark.parametrize("how", ["put", "copy"])
def test_a_folder_that_empties_while_another_writes_into_it_fails_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Whoever deletes the last object of a folder removes it too: three do that, each with its own objects."""
    monkeypatch.setattr(local, "_sync", lambda _path: None)  # so that there are many moments
    store, failed = LocalStore(tmp_path), list[ReelayError]()
    store.put("source/one", b"x")

    def write(name: str) -> None:
        for number in range(300):
            key = f"pictures/main/{name}{number}.jpg"
            try:
                if how == "put":
                    store.put(key, b"x")
                else:
                    store.copy("source/one", key)
                assert store.get(key) == b"x"
                store.delete(key)
            except ReelayError as error:
                failed.append(error)

    writers = [threading.Thread(target=write, args=(name,)) for name in "abc"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert not failed
