"""Decrypted segments that are kept in memory for many readers: each is decrypted once, and what is read is right."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import pytest

from shared.media.mp4.boxes import read_header
from shared.recording import clear_store
from shared.recording.clear_store import ClearStore
from shared.store.local import LocalStore
from tests.support.framecode_record import Spec
from tests.support.sealed import KEYS, folder_of_event, record_twice, stored

EVENT = "a1" * 16


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    key = KEYS.fresh(folder_of_event(EVENT))
    made = LocalStore(tmp_path / "media")
    stored(record_twice(Spec(seconds=Fraction(4)), tmp_path, key=key)[1], made, EVENT)
    return made


@pytest.fixture
def decrypted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of what was decrypted."""
    real, sizes = clear_store.clear_segment, list[int]()

    def counted(data: bytes, key: bytes) -> bytes:
        sizes.append(len(data))
        return real(data, key)

    monkeypatch.setattr(clear_store, "clear_segment", counted)
    return sizes


def name(number: int) -> str:
    return f"{folder_of_event(EVENT)}/{number:08}.m4s"


def test_many_readers_of_a_segment_have_it_decrypted_once(store: LocalStore, decrypted: list[int]) -> None:
    view, plain = ClearStore(store, KEYS, 1 << 20), ClearStore(store, KEYS)
    whole = plain.get(name(0))
    decrypted.clear()
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda at: b"".join(view.read(name(0), at, 999)), range(0, len(whole), 999)))
    assert b"".join(got) == whole
    assert view.get(name(0)) == whole
    assert decrypted == [len(whole)]


def test_a_segment_that_is_still_written_is_read_as_it_grows(store: LocalStore, decrypted: list[int]) -> None:
    view, path = ClearStore(store, KEYS, 1 << 20), store.path(name(0))
    sealed, whole = path.read_bytes(), ClearStore(store, KEYS).get(name(0))
    decrypted.clear()
    ends = list(_parts(sealed))
    assert len(ends) > 2
    for end in ends:
        path.write_bytes(sealed[:end])
        assert [view.get(name(0)), view.get(name(0))] == [whole[:end]] * 2
    assert decrypted == ends


def _parts(data: bytes) -> Iterator[int]:
    """Yield where the parts of a segment end."""
    at = 0
    while at < len(data):
        found = read_header(data, at, len(data))
        at = found.end
        if found.kind == b"mdat":
            yield at


def test_what_makes_room_for_others_is_decrypted_again_and_spoils_no_reader(
    store: LocalStore, decrypted: list[int]
) -> None:
    plain = ClearStore(store, KEYS)
    first, second = plain.get(name(0)), plain.get(name(1))
    small = ClearStore(store, KEYS, 4 * max(len(first), len(second)))
    reading = small.read(name(0), 0, len(first), chunk=1000)
    got = [next(reading)]
    decrypted.clear()
    for number in range(3):  # others fill the memory
        store.put(name(10 + number), store.get(name(1)) + bytes([0, 0, 0, 9]) + b"free" + bytes([number]))
        assert small.get(name(10 + number))[: len(second)] == second
    assert b"".join([*got, *reading]) == first
    none = ClearStore(store, KEYS, 4 * len(first) - 1)
    decrypted.clear()
    assert [none.get(name(0)), none.get(name(0))] == [first, first]
    assert decrypted == [len(first)] * 2
