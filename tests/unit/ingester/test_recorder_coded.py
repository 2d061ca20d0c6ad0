"""AV1 pictures that are decoded and not shown: they wait, within bounds, and cost what they have in bytes."""

from __future__ import annotations

import pytest

from services.ingester.recorder import coded
from services.ingester.recorder.coded import CodedPictures
from shared.media.bitstream import av1
from shared.media.bitstream.errors import BitstreamError

RECORD = bytes.fromhex("81000c000a0b000000043cfeccdaf90040")
SHOWN = b"\x32\x03\x10\x00\x01"
HIDDEN = b"\x32\x02\x00\x00"


@pytest.fixture
def pictures() -> CodedPictures:
    found = CodedPictures()
    found.configure("av1", RECORD)
    return found


def test_what_is_not_shown_comes_with_what_is(pictures: CodedPictures) -> None:
    assert [pictures.take(HIDDEN) for _ in range(3)] == [None] * 3
    picture = pictures.take(SHOWN)
    assert picture is not None
    assert picture.payload.endswith(HIDDEN * 3 + SHOWN)
    assert pictures.take(SHOWN).payload.endswith(SHOWN)  # type: ignore[union-attr]


def test_each_message_is_read_once(pictures: CodedPictures, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    real = av1.split_obus
    monkeypatch.setattr(coded.av1, "split_obus", lambda data: read.append(len(data)) or real(data))
    for _ in range(500):
        pictures.take(HIDDEN)
    assert sum(read) == 500 * len(HIDDEN)


@pytest.mark.parametrize(("size", "most"), [(2, av1.MOST_OBUS), (1 << 20, 15)])
def test_so_much_waits_at_the_most(pictures: CodedPictures, size: int, most: int) -> None:
    hidden = b"\x30" + bytes(size)  # a frame without a size field, that shows nothing
    refused = 0
    for _ in range(most + 1):
        try:
            assert pictures.take(hidden) is None
        except BitstreamError:
            refused += 1
    assert refused == 1
    picture = pictures.take(SHOWN)
    assert picture is not None
    assert len(picture.payload) < 100
