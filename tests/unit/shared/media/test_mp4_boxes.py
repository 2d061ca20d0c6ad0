"""Boxes, sample entries and fragments from garbage: an error or a short answer, never a crash or a hang."""

from __future__ import annotations

import contextlib
import struct
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.media.bitstream.params import nal_type, read_sps, record_sets, set_id, split_annexb
from shared.media.mp4.aac import read_aac
from shared.media.mp4.boxes import Mp4Error, box, children, find, read_header
from shared.media.mp4.entries import aac_config, codec_record, opus_config, read_entry, video_config
from shared.media.mp4.fragments import FragmentWriter, Sample, read_fragments
from shared.media.mp4.init import build_init, parse_init
from shared.media.tracks import TrackConfig

AAC = aac_config(bytes.fromhex("1190"))
OPUS_HEAD = b"OpusHead" + struct.pack("<BBHIhB", 1, 2, 312, 48000, 0, 0)
# x264's SPS and PPS of a 320x180 picture (High profile).
SPS = bytes.fromhex("6764000dacd941419f9e1000000300100000030 3c0f14299 60".replace(" ", ""))
PPS = bytes.fromhex("68ebe3cb22c0")
VIDEO = video_config("h264", b"\0\0\0\1" + SPS + b"\0\0\1" + PPS, 90000)
boxes = st.recursive(
    st.tuples(st.binary(min_size=4, max_size=4), st.binary(max_size=40)).map(lambda b: box(*b)),
    lambda inner: st.tuples(st.binary(min_size=4, max_size=4), st.lists(inner, max_size=4)).map(
        lambda b: box(b[0], *b[1])
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.lists(boxes, max_size=5))
def test_boxes_come_back_as_they_were_built(built: list[bytes]) -> None:
    data = b"".join(built)
    assert [data[b.start : b.end] for b in children(data)] == built


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_walking_garbage_ends(data: bytes) -> None:
    end = 0
    try:
        for found in children(data):
            assert end == found.start < found.body <= found.end <= len(data)
            end = found.end
    except Mp4Error:
        pass


def test_sizes_of_0_and_of_64_bits_are_read() -> None:
    assert read_header(struct.pack(">I4sQ", 1, b"mdat", 20) + b"abcd", 0, 20).body == 16
    assert read_header(b"\0\0\0\0freeabc", 0, 11).end == 11
    for wrong in (b"\0\0\0\7free", b"\0\0\0\xfffree", b"\0\0", struct.pack(">I4sQ", 1, b"mdat", 15)):
        with pytest.raises(Mp4Error):
            read_header(wrong, 0, len(wrong))


def test_tracks_survive_an_init_segment() -> None:
    opus = opus_config(OPUS_HEAD, 3)
    assert parse_init(build_init([VIDEO, AAC, opus])) == [VIDEO, AAC, opus]
    assert (VIDEO.width, VIDEO.height) == (320, 180)
    assert record_sets("h264", codec_record(VIDEO)) == [SPS, PPS]
    assert [set_id("h264", nal) for nal in (SPS, PPS)] == [0, 0]
    assert codec_record(AAC) == bytes.fromhex("1190")
    assert find(opus.sample_entry, None, b"Opus") is not None


def test_aac_descriptions_are_read() -> None:
    assert (AAC.timescale, AAC.channels, read_aac(bytes.fromhex("1190")).frame) == (48000, 2, 1024)
    explicit_sbr = read_aac(bytes.fromhex("2b118800"))  # HE-AAC: 24000 Hz core, 48000 Hz out, stereo
    assert (explicit_sbr.rate, explicit_sbr.frame, explicit_sbr.channels) == (48000, 2048, 2)
    for wrong in (b"", b"\x17", b"\x16\xf0"):
        with pytest.raises(Mp4Error):
            read_aac(wrong)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_damaged_init_segment_raises_or_reads(data: st.DataObject) -> None:
    good = build_init([VIDEO, AAC, opus_config(OPUS_HEAD, 3)])
    raw = bytearray(good)
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(Mp4Error):
        for config in parse_init(bytes(raw[: data.draw(st.integers(0, len(raw)))])):
            codec_record(config)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["h264", "hevc"]), st.binary(max_size=80))
def test_garbage_parameter_sets_raise_or_read(codec: str, data: bytes) -> None:
    kind = "h264" if codec == "h264" else "hevc"
    for call in (lambda: read_sps(kind, data), lambda: record_sets(kind, data), lambda: opus_config(data),
                 lambda: video_config(kind, data, 90000), lambda: read_entry(data, 1, 1), lambda: read_aac(data),
                 lambda: video_config(kind, b"\0\0\1" + data, 90000), lambda: set_id(kind, data)):  # fmt: skip
        with contextlib.suppress(Mp4Error):
            call()


@settings(deadline=None)
@given(
    st.lists(st.binary(min_size=2, max_size=9).map(lambda b: b"\x41" + b.replace(b"\0", b"\7") + b"\x80"), max_size=6)
)
def test_byte_streams_split_into_their_units(nals: list[bytes]) -> None:
    stream = b"".join((b"\0\0\1" if i % 2 else b"\0\0\0\1") + nal + b"\0" * (i % 3) for i, nal in enumerate(nals))
    assert split_annexb(stream) == nals
    assert all(nal_type("h264", nal) == 1 for nal in nals)


samples = st.lists(st.tuples(st.integers(1, 1 << 20), st.integers(-(1 << 20), 1 << 20), st.booleans(),
                             st.binary(min_size=1, max_size=9)), min_size=1, max_size=9)  # fmt: skip


def timed(rows: list[tuple[int, int, bool, bytes]], start: int, *, video: bool) -> list[Sample]:
    out = []
    for duration, offset, sync, payload in rows:
        out.append(Sample(start, start + offset * video, duration, sync, payload))
        start += duration
    return out


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(samples, samples), min_size=1, max_size=4), st.integers(0, 1 << 40), st.data())
def test_fragments_read_back_and_survive_damage(
    parts: list[tuple[list[tuple[int, int, bool, bytes]], ...]], start: int, data: st.DataObject
) -> None:
    writer = FragmentWriter([VIDEO, AAC])
    made: dict[int, list[Sample]] = {1: [], 2: []}
    out = b""
    for rows in parts:
        part = {}
        for track, row in zip(made, rows, strict=True):
            begin = made[track][-1].dts + made[track][-1].duration if made[track] else start
            part[track] = timed(row, begin, video=track == 1)
        out += writer.part(part)
        for track, run in part.items():
            made[track] += run
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.m4s")
        path.write_bytes(out)
        found = read_fragments(path)
        assert found.valid == (len(out),)
        for track, run in made.items():
            table = found.tables[track]
            columns = (table.dts, table.pts, table.duration, table.size)
            assert list(zip(*(c.tolist() for c in columns), strict=False)) == [
                (s.dts, s.pts, s.duration, len(s.payload)) for s in run
            ]
            assert [out[o : o + s] for o, s in zip(table.offset, table.size, strict=False)] == [s.payload for s in run]
        assert found.tables[1].sync.tolist() == [s.sync for s in made[1]]
        assert found.tables[2].sync.all(), "every audio frame can be decoded alone"
        damaged = bytearray(out)
        for _ in range(3):
            damaged[data.draw(st.integers(0, len(out) - 1))] ^= data.draw(st.integers(1, 255))
        path.write_bytes(damaged)
        with contextlib.suppress(Mp4Error):
            read_fragments(path)


def test_a_part_needs_no_sample_of_every_track(tmp_path: Path) -> None:
    config = TrackConfig(7, "audio", "aac", 48000, AAC.sample_entry)
    path = tmp_path / "a.m4s"
    writer = FragmentWriter([VIDEO, config], 5)
    path.write_bytes(writer.part({7: [Sample(10, 10, 1024, True, b"x")], 1: []}))
    assert list(read_fragments(path).tables) == [7]
    assert writer.sequence == 6
