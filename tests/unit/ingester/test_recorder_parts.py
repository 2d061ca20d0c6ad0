"""The recorder's parts by themselves: clocks, tables and headers, from good input and from bad."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingester.recorder.audio import AdtsSplitter, opus_duration, opus_head, opus_track, split_opus
from services.ingester.recorder.mpegts import TsDemuxer
from services.ingester.recorder.pictures import has_recovery_point
from services.ingester.recorder.psi import Sections, read_pat, read_pmt
from services.ingester.recorder.units import AccessUnits
from services.ingester.recorder.unwrap import Unwrapper
from services.ingester.rtmp.frames import MediaFrames
from shared.media.crc import crc32
from shared.media.mp4.boxes import Mp4Error
from shared.media.mp4.entries import aac_config
from shared.media.segment_head import SegmentHead, build_head, read_head
from shared.media.tracks import VideoCodec
from shared.rtmp.chunks import VIDEO as VIDEO_MESSAGE
from tests.unit.shared.media.test_mp4_boxes import PPS, SPS, VIDEO

AAC = aac_config(bytes.fromhex("1190"))
TS_PAT = bytes.fromhex("00b00d0001c100000001f0002ab104b2")


@settings(deadline=None)
@given(st.integers(0, (1 << 33) - 1), st.lists(st.integers(-(1 << 31), 1 << 31), max_size=20))
def test_wraps_are_taken_out(start: int, steps: list[int]) -> None:
    clock, real = Unwrapper(33), start
    assert clock.take(start) == start
    for step in steps:
        real += step
        assert clock.take(real % (1 << 33)) == real


words = st.integers(1, 1 << 31)
heads = st.builds(
    SegmentHead,
    words,
    words,
    st.integers(0, 1 << 60),
    words,
    st.integers(946_684_800_000, 4_000_000_000_000),
    st.booleans(),
    words,
)


@settings(deadline=None)
@given(heads, st.binary(max_size=60))
def test_a_segment_head_reads_back(head: SegmentHead, garbage: bytes) -> None:
    assert read_head(build_head(head)) == head
    with pytest.raises(Mp4Error):
        read_head(garbage)


def section(table: int, body: bytes) -> bytes:
    head = bytes((table, 0xB0 | (len(body) + 4) >> 8, (len(body) + 4) & 0xFF))
    whole = head + body
    return whole + struct.pack(">I", crc32(whole))


def test_tables_are_read_once_and_damaged_ones_not_at_all() -> None:
    assert crc32(TS_PAT) == 0
    assert read_pat(TS_PAT) == 0x1000
    sections = Sections()
    assert sections.take(b"\0" + TS_PAT + b"\xff" * 100, start=True) == TS_PAT
    assert sections.take(b"\0" + TS_PAT, start=True) is None
    broken = bytearray(TS_PAT)
    broken[10] ^= 1
    assert sections.take(b"\0" + broken, start=True) is None
    streams = b"\x1b\xe1\0\xf0\0\x0f\xe1\1\xf0\0\x06\xe1\2\xf0\x0a\x05\x04Opus\x7f\x02\x80\x06\x02\xe1\3\xf0\0"
    pmt = section(2, b"\0\1\xc1\0\0\xe1\0\xf0\0" + streams)
    wide = Sections()
    assert wide.take(b"\0" + pmt[:20], start=True) is None
    assert wide.take(pmt[20:], start=False) == pmt
    found = read_pmt(pmt)
    assert found is not None
    assert [(s.pid, s.codec, s.channels) for s in found] == [
        (0x100, "h264", 0), (0x101, "aac", 0), (0x102, "opus", 6), (0x103, "MPEG-2 video", 0)]  # fmt: skip


def adts(payload: bytes) -> bytes:
    size = len(payload) + 7
    return bytes((0xFF, 0xF1, 0x4C, 0x80 | size >> 11, size >> 3 & 0xFF, (size & 7) << 5 | 0x1F, 0xFC)) + payload


@settings(deadline=None)
@given(
    st.lists(st.binary(min_size=1, max_size=50).map(lambda b: b.replace(b"\xff", b"\0")), min_size=1, max_size=8),
    st.data(),
)
def test_adts_frames_may_run_over_packets(payloads: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(map(adts, payloads))
    splitter, found = AdtsSplitter(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        found += splitter.split(stream[:size])[1]
        stream = stream[size:]
    assert found == payloads
    assert splitter.config == bytes.fromhex("1190")


def test_sound_out_of_step_is_found_again() -> None:
    splitter = AdtsSplitter()
    before, frames = splitter.split(b"\xff\x00noise\xff" + adts(b"one") + adts(b"two"))
    assert (before, frames) == (0, [b"one", b"two"])


def test_opus_packets_are_measured_and_unwrapped() -> None:
    assert [opus_duration(bytes((toc, 2))) for toc in (0xFC, 0xFD, 0xFF, 0x00, 0x1B)] == [960, 1920, 1920, 480, 5760]
    assert opus_duration(b"") == opus_duration(b"\xff") == 0
    body = b"\xfc" + b"x" * 299
    packet = b"\x7f\xe0\xff\x2d" + body
    trimmed = b"\x7f\xf8\x03\0\1\0\2" + b"\xfcab"
    assert split_opus(packet + trimmed) == [body, b"\xfcab"]
    assert split_opus(b"\x7f\xe0\xff") == split_opus(b"junk") == []
    assert [track.channels for code in (0, 1, 2, 8) if (track := opus_track(code))] == [2, 1, 2, 8]
    assert opus_track(9) is None
    assert len(opus_head(6)) == 27


@pytest.mark.parametrize(
    ("codec", "sei", "found"),
    [
        ("h264", "0606 01c4 80", True),
        ("h264", "0605 026162 0601 84 80", True),
        ("h264", "0606 0144 80", True),  # recovery_frame_cnt 1: all is right a frame later
        ("h264", "0606 0204 80 80", True),
        ("h264", "0605 ff", False),
        ("h264", "0605 0106 80", False),
        ("h264", "0606 00 80", False),
        ("hevc", "4e01 0601 d0 80", True),
        ("hevc", "4e01 0602 1060 80", True),
        ("hevc", "4e01 0106 80", False),
        ("hevc", "4e01", False),
    ],
)
def test_recovery_points_are_found(codec: VideoCodec, sei: str, found: bool) -> None:
    assert has_recovery_point(codec, bytes.fromhex(sei)) is found


def test_a_recovery_point_is_a_place_to_begin() -> None:
    units = AccessUnits("h264")
    start = b"\0\0\0\1"
    entry = start + b"\x09\xf0" + start + SPS + start + PPS + start + b"\x06\x06\x01\xc4\x80" + start + b"\x41\x9a\x02"
    assert units.take(entry, 0, (6, 5)) == []
    (first,) = units.take(start + b"\x09\xf0" + start + b"\x41\x9a\x01", 0, (8, 7))
    assert (first.sync, first.clean, first.stamp, first.config) == (True, False, (6, 5), VIDEO)
    assert first.payload == b"\0\0\0\2\x09\xf0" + b"\0\0\0\5\x06\x06\x01\xc4\x80" + b"\0\0\0\3\x41\x9a\x02"
    (following,) = units.finish()
    assert (following.sync, following.stamp, following.config is first.config) == (False, (8, 7), True)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.binary(max_size=400), max_size=8))
def test_demuxers_survive_garbage(chunks: list[bytes]) -> None:
    for prefix in (b"", b"\x17\0\0\0\0", b"\x27\1\0\0\0", b"\xaf\0", b"\xaf\1", b"\x90Opus", b"\x91Opus", b"\x90hvc1"):
        media = MediaFrames(track_wait_ns=0, hold=0, most=999)
        for number, chunk in enumerate(chunks):
            media.media(VIDEO_MESSAGE - number % 2, number, bytearray(prefix + chunk), 0)
        media.finish()
    stream = TsDemuxer()
    for chunk in chunks:
        padded = chunk[:184].ljust(184, b"\0")
        stream.feed(b"\x47\x40\0\x10" + padded + b"\x47\x41\0\x30" + padded + chunk)
    stream.flush()
