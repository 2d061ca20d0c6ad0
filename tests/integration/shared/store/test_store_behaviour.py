"""What every store does, tried on a local folder and on a real S3 server."""

from __future__ import annotations

import os
import resource
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from shared.errors import Permanent, Unavailable
from shared.runtime.settings import Settings
from shared.store import MediaStore, ObjectInfo
from shared.store.base import ObjectMissing
from shared.store.local import LocalStore
from shared.store.opening import open_store
from tests.support.s3 import s3_server
from tests.support.waiting import wait_until

KEY = "live/aa/bb/primary-1/00000000.m4s"


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with s3_server("media") as endpoint:
        yield endpoint


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> MediaStore:
    if request.param == "local":
        return open_store(Settings(data_dir=tmp_path))
    endpoint = request.getfixturevalue("s3")
    return open_store(Settings(data_dir=tmp_path, store=f"s3://media/{tmp_path.name}/deep/", s3_endpoint=endpoint))


def write(store: MediaStore, key: str, data: bytes) -> None:
    store.begin(key).write_bytes(data)
    store.commit(key)


def test_what_was_written_in_pieces_is_read_back_whole_and_in_ranges(store: MediaStore) -> None:
    data = bytes(range(256)) * 3000
    path = store.begin(KEY)
    with path.open("wb") as file:
        for at in range(0, len(data), 100_000):
            file.write(data[at : at + 100_000])
    store.commit(KEY)
    assert store.info(KEY) == ObjectInfo(KEY, len(data))
    assert store.get(KEY) == data
    assert b"".join(store.read(KEY, 1000, 600_001, chunk=65_536)) == data[1000:601_001]
    assert b"".join(store.read(KEY, len(data) - 5, 100)) == data[-5:]
    assert b"".join(store.read(KEY, len(data) + 5, 100)) == b""
    assert b"".join(store.read(KEY, 0, 0)) == b""
    with store.local(KEY) as local:
        assert local.read_bytes() == data


def test_a_commit_again_changes_nothing_and_one_without_bytes_is_refused(store: MediaStore) -> None:
    write(store, KEY, b"moof")
    store.commit(KEY)
    assert store.get(KEY) == b"moof"
    with pytest.raises(ObjectMissing):
        store.commit("live/aa/bb/primary-1/00000001.m4s")


def test_an_unfinished_object_keeps_its_path_for_whoever_salvages_it(store: MediaStore) -> None:
    store.begin(KEY).write_bytes(b"half")
    assert store.begin(KEY).read_bytes() == b"half"


def test_put_replaces(store: MediaStore) -> None:
    store.put("live/aa/index/1.json", b"one")
    store.put("live/aa/index/1.json", b"two")
    assert store.get("live/aa/index/1.json") == b"two"


def test_who_reads_while_an_object_is_replaced_has_the_old_or_the_new_one_whole(store: MediaStore) -> None:
    versions = [bytes([number]) * (1 << 20) for number in range(12)]
    store.put(KEY, versions[0])
    seen: list[bytes] = []
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            seen.append(store.get(KEY))

    def goes_on(before: int) -> bool:
        return len(seen) > before or not reader.is_alive()

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for version in versions[1:]:
            before = len(seen)
            store.put(KEY, version)
            wait_until(partial(goes_on, before))
    finally:
        over.set()
        reader.join()
    assert len(seen) >= len(versions) - 1
    assert all(data in versions for data in seen)


def test_a_write_that_fails_half_way_leaves_what_was_there(tmp_path: Path) -> None:
    store = open_store(Settings(data_dir=tmp_path))
    store.put(KEY, b"whole")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8 << 20, before[1]))  # as a disk that fills: the write ends after a part
    try:
        with pytest.raises(Unavailable):
            store.put(KEY, bytes(9 << 20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert store.get(KEY) == b"whole"
    assert [found.key for found in store.list("live")] == [KEY]


def test_a_missing_object_is_told_apart_from_a_failure(store: MediaStore) -> None:
    assert store.info(KEY) is None
    with pytest.raises(ObjectMissing):
        store.get(KEY)
    with pytest.raises(ObjectMissing):
        list(store.read(KEY, 0, 10))
    with pytest.raises(ObjectMissing), store.local(KEY):
        pass
    store.delete(KEY)


def test_a_folder_that_cannot_be_read_now_is_not_an_empty_one(tmp_path: Path) -> None:
    store = open_store(Settings(data_dir=tmp_path))
    store.put(KEY, b"whole")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Path(os.devnull).open() as last:  # no file can be opened behind this one
        resource.setrlimit(resource.RLIMIT_NOFILE, (last.fileno() + 1, before[1]))
        try:
            with pytest.raises(Unavailable):
                list(store.list("live"))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert [found.key for found in store.list("live")] == [KEY]
    assert list(store.list("nowhere")) == []
    assert list(store.list(KEY)) == [], "no folder"


def test_an_object_larger_than_expected_is_not_read_into_memory(store: MediaStore) -> None:
    store.put(KEY, b"x" * 100)
    with pytest.raises(Permanent):
        store.get(KEY, limit=99)


def test_a_folder_lists_what_lies_below_it_and_nothing_beside_it(store: MediaStore) -> None:
    for key in ("live/aa/bb/2.m4s", "live/aa/bb/1.m4s", "live/aab/1.m4s", "live/ab/1.m4s"):
        store.put(key, key.encode())
    assert [found.key for found in store.list("live/aa")] == ["live/aa/bb/1.m4s", "live/aa/bb/2.m4s"]
    assert [found.size for found in store.list("live/aab")] == [14]
    assert list(store.list("live/zz")) == []


def test_a_list_goes_on_behind_a_key(store: MediaStore) -> None:
    for name in ("b.mp4", "a.mp4", "d.mp4", "c.mp4"):
        store.put(f"library/main/{name}", name.encode())
    found = list(store.list("library/main", after="library/main/b.mp4"))
    assert [info.key for info in found] == ["library/main/c.mp4", "library/main/d.mp4"]
    assert all(abs(info.modified_ms - time.time() * 1000) < 60_000 for info in found)
    assert list(store.list("library/main", after="library/main/d.mp4")) == []


def test_a_copy_is_whole_and_takes_the_place_of_what_was_there(store: MediaStore) -> None:
    store.put("clips/a/frame.mp4", b"exact")
    store.put("library/main/goal.mp4", b"fast one")
    store.copy("clips/a/frame.mp4", "library/main/goal.mp4")
    assert store.get("library/main/goal.mp4") == b"exact"
    assert [info.key for info in store.list("library")] == ["library/main/goal.mp4"]
    store.delete("clips/a/frame.mp4")
    assert store.get("library/main/goal.mp4") == b"exact"
    with pytest.raises(ObjectMissing):
        store.copy("clips/a/frame.mp4", "library/main/goal.mp4")
    assert store.get("library/main/goal.mp4") == b"exact"


def test_a_range_of_a_version_is_never_of_another(store: MediaStore) -> None:
    store.put(KEY, b"old" + bytes(1000))
    seen = store.info(KEY)
    assert seen is not None
    assert seen.version == next(store.list("live")).version
    assert b"".join(store.read(KEY, 0, 3, version=seen.version)) == b"old"
    store.put(KEY, b"new" + bytes(1000))
    with pytest.raises(ObjectMissing):
        next(store.read(KEY, 0, 3, version=seen.version))
    store.delete(KEY)
    with pytest.raises(ObjectMissing):
        next(store.read(KEY, 0, 3, version=seen.version))


def test_a_deleted_object_is_gone_and_deleting_it_again_is_fine(store: MediaStore) -> None:
    write(store, KEY, b"moof")
    store.delete(KEY)
    store.delete(KEY)
    assert store.info(KEY) is None
    assert list(store.list("live")) == []


def test_a_version_is_deleted_and_not_another(store: MediaStore) -> None:
    store.put(KEY, b"old")
    seen = store.info(KEY)
    assert seen is not None
    store.put(KEY, b"newer")
    with pytest.raises(ObjectMissing):
        store.delete(KEY, version=seen.version)
    now = store.info(KEY)
    assert now is not None
    store.delete(KEY, version=now.version)
    assert store.info(KEY) is None
    with pytest.raises(ObjectMissing):
        store.delete(KEY, version=now.version)


def test_a_server_that_refuses_the_condition_deletes_all_the_same(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(Settings(data_dir=tmp_path, store=f"s3://media/{tmp_path.name}", s3_endpoint=s3))
    client = store._client  # type: ignore[attr-defined]
    delete = client.delete_object

    def refusing(**asked: str) -> object:
        if "IfMatch" in asked:
            raise ClientError({"Error": {"Code": "NotImplemented"}}, "DeleteObject")
        return delete(**asked)

    monkeypatch.setattr(client, "delete_object", refusing)
    store.put(KEY, b"old")
    store.delete(KEY, version="any")
    assert store.info(KEY) is None


@pytest.mark.parametrize("key", ["../x", "/etc/passwd", "live/../../x", "live//x", ".hidden", "a" * 600, "", "a\nb"])
def test_a_key_cannot_leave_the_store(store: MediaStore, key: str) -> None:
    for call in (store.begin, store.commit, store.get, store.info, store.delete):
        with pytest.raises(Permanent):
            call(key)
    with pytest.raises(Permanent):
        store.put(key, b"")
    with pytest.raises(Permanent):
        store.copy(key, KEY)
    with pytest.raises(Permanent):
        store.copy(KEY, key)


def test_a_store_that_does_not_answer_is_unavailable(tmp_path: Path, s3: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
        store = open_store(Settings(data_dir=tmp_path, store="s3://media", s3_endpoint=endpoint))
        with pytest.raises(Unavailable):
            store.info(KEY)
    nowhere = open_store(Settings(data_dir=tmp_path, store="s3://nowhere", s3_endpoint=s3))
    with pytest.raises(Unavailable):
        nowhere.put(KEY, b"")


def test_a_store_without_a_bucket_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Permanent):
        open_store(Settings(data_dir=tmp_path, store="s3:///prefix"))


def test_what_is_told_has_reached_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """File and name are synced before `commit` and `put` return, and an object's bytes before it takes its name."""
    store = LocalStore(tmp_path)
    synced: list[tuple[Path, bytes | list[str]]] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        at = Path(f"/proc/self/fd/{descriptor}").readlink()
        synced.append((at, at.read_bytes() if at.is_file() else sorted(p.name for p in at.iterdir())))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    write(store, KEY, b"moof")
    path = store.path(KEY)
    assert synced == [(path, b"moof"), (path.parent, [path.name])]
    synced.clear()
    store.put(KEY, b"new!")
    (draft, data), (folder, names) = synced
    assert (draft.parent, draft == path, data) == (path.parent, False, b"new!")
    assert (folder, names) == (path.parent, [path.name])
