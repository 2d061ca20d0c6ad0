"""Which bytes of a picture are encrypted, of pictures as odd as encoders and damage make them."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.media.bitstream.params import build_avcc
from shared.media.cenc.cipher import SampleCipher
from shared.media.cenc.entry import protected_entry, unprotected_entry
from shared.media.cenc.seal import info_of
from shared.media.cenc.subsamples import Splitter
from shared.media.mp4.boxes import Mp4Error
from shared.media.mp4.entries import read_entry, video_config
from tests.unit.shared.media.test_mp4_boxes import PPS, SPS

AVC = video_config("h264", build_avcc([SPS, PPS]), 90000)
IV = bytes(range(8))
SLICE, SEI = b"\x65", b"\x06"


def nal(head: bytes, size: int) -> bytes:
    return struct.pack(">I", size) + (head + bytes(i & 0x7F | 1 for i in range(size)))[:size]


CASES = [
    ("a slice", nal(SLICE, 100), [(4 + 1 + 3, 96)]),
    ("of whole blocks", nal(SLICE, 97), [(5, 96)]),
    ("less than a block", nal(SLICE, 16), [(20, 0)]),
    ("less than a header", nal(SLICE, 1), [(5, 0)]),
    ("nothing in it", nal(SLICE, 0) + nal(SLICE, 17), [(9, 16)]),
    ("messages before it", nal(SEI, 50) + nal(SLICE, 33), [(54 + 5, 32)]),
    ("an end of sequence after it", nal(SLICE, 33) + nal(b"\x0a", 1), [(5, 32), (5, 0)]),
    ("only messages", nal(SEI, 5), [(9, 0)]),
    ("messages too long for 16 bits", nal(SEI, 140_000) + nal(SLICE, 33), [(65535, 0), (65535, 0), (8939, 32)]),
    ("two slices, one tiny", nal(SLICE, 49) + nal(SLICE, 3) + nal(SLICE, 33), [(5, 48), (12, 32)]),
    ("cut short", nal(SLICE, 100)[:-20], [(4 + 1 + 15, 64)]),
    ("a length cut short", nal(SLICE, 33) + b"\0\0", [(5, 32), (2, 0)]),
]


@pytest.mark.parametrize(("sample", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_slices_are_encrypted_in_whole_blocks_behind_their_headers(
    sample: bytes, expected: list[tuple[int, int]]
) -> None:
    assert Splitter(AVC).split(sample) == expected


def test_more_slices_than_can_be_listed_leave_nothing_clear() -> None:
    sample = b"".join(nal(SLICE, 50) for _ in range(100))
    found = Splitter(AVC).split(sample)
    assert len(found) == 40
    assert len(info_of(IV, found)) <= 255
    assert sum(clear for clear, _ in found) == 40 * 6


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([SLICE, SEI, b"\x41"]), st.integers(0, 300)), max_size=60), st.binary())
def test_any_bytes_are_spanned_and_come_back(units: list[tuple[bytes, int]], rest: bytes) -> None:
    sample = b"".join(nal(*unit) for unit in units) + rest
    if not sample:
        return
    found = Splitter(AVC).split(sample)
    assert found
    assert sum(map(sum, found)) == len(sample)
    assert all(0 <= clear <= 0xFFFF for clear, _ in found)
    cipher = SampleCipher(bytes(16))
    sealed = cipher.parts(IV, sample, found)
    assert len(sealed) == len(sample)
    assert cipher.parts(IV, sealed, found) == sample
    assert cipher.whole(IV, cipher.whole(IV, sample)) == sample


def test_blocks_are_counted_through_a_sample() -> None:
    """The protected bytes of all subsamples are one chain: as if they lay side by side (ISO/IEC 23001-7, 9.5)."""
    cipher, sample = SampleCipher(bytes(range(16))), bytes(200)
    stream = cipher.whole(IV, bytes(96))
    assert (
        cipher.parts(IV, sample, [(10, 32), (20, 64), (74, 0)])
        == (  # type: ignore[list-item]
            bytes(10) + stream[:32] + bytes(20) + stream[32:] + bytes(74)
        )
    )


def test_a_protected_entry_reads_as_what_it_was() -> None:
    kid = bytes(range(16))
    sealed = protected_entry(AVC.sample_entry, kid)
    assert sealed[4:8] == b"encv"
    assert unprotected_entry(sealed) == (AVC.sample_entry, kid)
    config = read_entry(sealed, 1, 90000)
    assert (config, config.kid) == (AVC, kid)
    for wrong in (sealed.replace(b"cenc", b"cbcs"), sealed.replace(b"tenc", b"tens"), sealed.replace(b"frma", b"frmb")):
        with pytest.raises(Mp4Error):
            read_entry(wrong, 1, 90000)
