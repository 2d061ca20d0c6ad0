"""Opus headers in both of their forms."""

from __future__ import annotations

import struct

import pytest

from shared.media.bitstream.errors import BitstreamError
from shared.media.bitstream.opus import OpusHead

STEREO = b"OpusHead" + struct.pack("<BBHIhB", 1, 2, 312, 44_100, -256, 0)
SURROUND = b"OpusHead" + struct.pack("<BBHIhB", 1, 6, 0, 48_000, 0, 1) + bytes((4, 2, 0, 4, 1, 2, 3, 5))


@pytest.mark.parametrize("head", [STEREO, SURROUND])
def test_a_head_is_the_same_after_a_way_through_mp4(head: bytes) -> None:
    dops = OpusHead.read(head).write_dops()
    assert dops[0] == 0  # the version of the box
    assert struct.unpack(">H", dops[2:4]) == struct.unpack("<H", head[10:12])
    assert OpusHead.read_dops(dops).write() == head


@pytest.mark.parametrize("broken", [b"", b"OpusTags" + STEREO[8:], STEREO[:18], STEREO[:9] + b"\0" + STEREO[10:]])
def test_what_is_no_head_is_refused(broken: bytes) -> None:
    with pytest.raises(BitstreamError):
        OpusHead.read(broken)


@pytest.mark.parametrize("broken", [b"", STEREO[8:18], b"\0\0" + STEREO[10:]])
def test_what_is_no_box_is_refused(broken: bytes) -> None:
    with pytest.raises(BitstreamError):
        OpusHead.read_dops(broken)


def test_a_mapping_that_is_cut_short_is_refused() -> None:
    with pytest.raises(BitstreamError, match="cut short"):
        OpusHead.read(SURROUND[:-1])
