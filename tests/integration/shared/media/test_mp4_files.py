"""What shared/media/mp4 writes, as a real decoder sees it."""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import hashlib
import itertools
import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from services.clipper.movie.copying import Range, write_ranges
from services.clipper.movie.movie import MovieTrack, write_movie
from shared.media.bitstream.params import record_sets
from shared.media.model import SampleTable
from shared.media.mp4.boxes import Mp4Error, children, need
from shared.media.mp4.entries import codec_record
from shared.media.mp4.fragments import FragmentWriter, Sample, read_fragments
from shared.media.mp4.init import build_init, parse_init, video_config
from tests.support import media_streams as media

KINDS = [("h264", "aac", "flv"), ("h264-b", "aac", "flv"), ("hevc", "aac", "mp4"), ("h264", "opus", "mp4")]


@pytest.fixture(scope="module", params=KINDS, ids="-".join)
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    video, audio, suffix = request.param
    tags = ("-tag:v", "hvc1") if video == "hevc" else ()
    out = tmp_path_factory.mktemp("source") / f"source.{suffix}"
    return media.encode(out, video=video, audio=audio, seconds=4, gop=30, more=tags)


def parts_of(demuxed: media.Demuxed) -> list[dict[int, list[Sample]]]:
    """Cut samples into parts of half a second by decode time."""
    scales = {c.track_id: c.timescale for c in demuxed.configs}
    found: dict[int, dict[int, list[Sample]]] = {}
    for track, samples in demuxed.samples.items():
        for sample in samples:
            found.setdefault(max(0, sample.dts * 2 // scales[track]), {}).setdefault(track, []).append(sample)
    return [found[key] for key in sorted(found)]


def write_fragments(demuxed: media.Demuxed, folder: Path, per_file: int = 4) -> tuple[Path, list[Path]]:
    writer = FragmentWriter(demuxed.configs)
    init = folder / "init.mp4"
    init.write_bytes(build_init(demuxed.configs))
    shift = -min(s[0].dts for s in demuxed.samples.values())
    files = []
    parts = parts_of(demuxed)
    for number, start in enumerate(range(0, len(parts), per_file)):
        path = folder / f"{number:08d}.m4s"
        moved = [{t: [s._replace(dts=s.dts + max(shift, 0), pts=s.pts + max(shift, 0)) for s in run]
                  for t, run in part.items()} for part in parts[start : start + per_file]]  # fmt: skip
        path.write_bytes(b"".join(map(writer.part, moved)))
        files.append(path)
    return init, files


def joined(init: Path, files: list[Path]) -> Path:
    out = init.with_name("joined.mp4")
    out.write_bytes(init.read_bytes() + b"".join(f.read_bytes() for f in files))
    return out


def hashes(path: Path, stream: str) -> list[str]:
    return [digest for _, digest in media.frame_hashes(path, stream)]


def test_fragments_decode_to_the_same_frames_without_a_warning(source: Path, tmp_path: Path) -> None:
    demuxed = media.demux(source)
    init, files = write_fragments(demuxed, tmp_path)
    out = joined(init, files)
    assert media.warnings(out) == ""
    assert hashes(out, "v:0") == hashes(source, "v:0")
    assert parse_init(init.read_bytes()) == demuxed.configs
    tables = read_fragments(files).tables
    for track, samples in demuxed.samples.items():
        table = tables[track]
        assert table.size.tolist() == [len(s.payload) for s in samples]
        assert table.duration.tolist() == [s.duration for s in samples]
        assert (table.pts - table.dts).tolist() == [s.pts - s.dts for s in samples]
        assert table.sync.tolist() == [s.sync for s in samples]
        data = {p: p.read_bytes() for p in files}
        for index in (0, len(samples) // 2, len(samples) - 1):
            path, at = table.files[table.source[index]], table.offset[index]
            assert data[path][at : at + table.size[index]] == samples[index].payload


def test_a_movie_of_recorded_parts_decodes_to_the_same_frames(source: Path, tmp_path: Path) -> None:
    demuxed = media.demux(source)
    _, files = write_fragments(demuxed, tmp_path)
    tables = read_fragments(files).tables
    out = tmp_path / "movie.mp4"
    movie = write_movie(out, [MovieTrack(c, tables[c.track_id]) for c in demuxed.configs])
    assert movie.bytes == out.stat().st_size
    assert movie.ranges <= len(parts_of(demuxed)) + 1, "parts are copied whole"
    assert media.warnings(out) == ""
    assert hashes(out, "v:0") == hashes(source, "v:0")
    assert [b.kind for b in children(out.read_bytes())] == [b"ftyp", b"moov", b"mdat"]
    assert not list(tmp_path.glob(".*.part"))


def test_times_of_a_movie_are_those_of_its_tables(tmp_path: Path) -> None:
    source = media.encode(tmp_path / "s.flv", video="h264-b", seconds=3, gop=30)
    demuxed = media.demux(source)
    video = [s._replace(dts=3000 * i, pts=3000 * i + round((s.pts - s.dts) / 3000) * 3000, duration=3000)
             for i, s in enumerate(demuxed.samples[1])]  # fmt: skip
    audio = [s._replace(dts=1024 * i, pts=1024 * i, duration=1024) for i, s in enumerate(demuxed.samples[2])]
    tracks = [MovieTrack(demuxed.configs[0], media.stored_table(video, tmp_path / "v", 100)),
              MovieTrack(demuxed.configs[1], media.stored_table(audio, tmp_path / "a"))]  # fmt: skip
    start, first_pts = Fraction(1), min(s.pts for s in video)
    out = tmp_path / "movie.mp4"
    write_movie(out, tracks, window=(start, Fraction(2)))
    with av.open(str(out)) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == 30
        unit = stream.time_base
        shown = [f.pts * unit for f in container.decode(stream) if 0 <= f.pts * unit < 1]
    assert shown == [Fraction(i, 30) for i in range(30)], "the window begins at 0 and frames keep their grid"
    data = out.read_bytes()
    moov = need(data, None, b"moov")
    traks = [b for b in children(data, moov.body, moov.end) if b.kind == b"trak"]
    stts = need(data, traks[0], b"mdia", b"minf", b"stbl", b"stts")
    assert int.from_bytes(data[stts.body + 4 : stts.body + 8], "big") == 1, "one constant duration"
    elst = need(data, traks[0], b"edts", b"elst")
    media_time = int.from_bytes(data[elst.body + 12 : elst.body + 16], "big")
    assert media_time == 90000 - min(s.pts - s.dts for s in video)
    assert first_pts <= media_time


def test_a_late_track_begins_late_and_sources_mix(tmp_path: Path) -> None:
    demuxed = media.demux(media.encode(tmp_path / "s.flv", seconds=2, gop=30))
    half = len(demuxed.samples[1]) // 2
    first = media.stored_table(demuxed.samples[1][:half], tmp_path / "v1")
    second = media.stored_table(demuxed.samples[1][half:], tmp_path / "v2", 7)
    columns = {
        f.name: np.concatenate((getattr(first, f.name), getattr(second, f.name)))
        for f in dataclasses.fields(SampleTable) if f.name not in ("files", "source")}  # fmt: skip
    both = SampleTable(
        **columns, source=np.repeat(np.array([0, 1]), [half, len(second)]), files=(*first.files, *second.files)
    )
    late = [s._replace(dts=s.dts + 24000, pts=s.pts + 24000) for s in demuxed.samples[2]]
    config = demuxed.configs[0]
    other = video_config("h264", codec_record(config), 90000).sample_entry
    tracks = [
        MovieTrack(config, both, (other,), np.repeat(np.array([0, 1]), [half, len(second)])),
        MovieTrack(demuxed.configs[1], media.stored_table(late, tmp_path / "a")),
    ]
    out = tmp_path / "movie.mp4"
    write_movie(out, tracks)
    assert media.warnings(out) == ""
    assert len(media.frame_hashes(out)) == len(both)
    sound = media.frame_hashes(out, "a:0")
    lead = Fraction(late[0].pts, 48000) - Fraction(int(both.pts.min()), 90000)
    assert abs(Fraction(sound[0][0], 1_000_000) - lead) < Fraction(1, 1000)


def test_a_file_cut_anywhere_keeps_its_whole_parts(tmp_path: Path) -> None:
    demuxed = media.demux(media.encode(tmp_path / "s.flv", seconds=2, gop=30, size="64x64"))
    _, (path,) = write_fragments(demuxed, tmp_path, per_file=100)
    data = path.read_bytes()
    boxes = list(children(data))
    ends = [0, *(b.end for b in boxes if b.kind == b"mdat")]
    cuts = {*range(0, len(data), 997), *itertools.chain.from_iterable((e - 1, e, e + 1, e + 9) for e in ends)}
    torn = tmp_path / "torn.m4s"
    for cut in sorted(c for c in cuts if 0 <= c <= len(data)):
        torn.write_bytes(data[:cut])
        found = read_fragments(torn)
        assert found.valid == (max(e for e in ends if e <= cut),)
        for table in found.tables.values():
            assert not len(table) or int((table.offset + table.size).max()) <= found.valid[0]


@pytest.mark.parametrize("way", ["past the page cache", "flag refused", "write refused"])
@pytest.mark.parametrize("length", [0, 1, 4096, 8192, 8193, 70_000, 2_500_000])
def test_ranges_make_the_same_bytes_and_hash_however_the_disk_takes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, length: int
) -> None:
    blocks = [os.urandom(100_000), os.urandom(3_000_000)]
    files = [tmp_path / "a", tmp_path / "b"]
    for path, block in zip(files, blocks, strict=True):
        path.write_bytes(block)
    ranges = [Range(files[0], 5, length % 90_000), Range(files[1], 1, length), Range(files[0], 0, min(length, 3))]
    head = os.urandom(length % 10_000)
    wanted = head + b"".join(blocks[files.index(r.path)][r.offset : r.offset + r.length] for r in ranges)
    asked: list[int] = []
    control, write = fcntl.fcntl, os.write

    def no_flag(fd: int, command: int, flags: int = 0) -> int:
        if command == fcntl.F_SETFL and flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "no such thing here")
        return control(fd, command, flags)

    def no_write(fd: int, data: memoryview) -> int:
        asked.append(len(data))
        if control(fd, fcntl.F_GETFL) & os.O_DIRECT:
            raise OSError(errno.EINVAL, "not aligned well enough")
        return write(fd, data)

    if way == "flag refused":
        monkeypatch.setattr("services.clipper.movie.copying.fcntl.fcntl", no_flag)
    elif way == "write refused":
        monkeypatch.setattr("services.clipper.movie.copying.os.write", no_write)
    told: list[int] = []
    with (tmp_path / "out").open("wb") as file:
        digest = write_ranges(file.fileno(), head, ranges, told.append, block=8192)
    monkeypatch.undo()
    assert (tmp_path / "out").read_bytes() == wanted
    assert digest == hashlib.sha256(wanted).hexdigest()
    assert told == [len(head) + sum(r.length for r in ranges[: n + 1]) for n in range(3)]
    assert way != "write refused" or not wanted or asked


def test_a_source_that_has_shrunk_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(100_000))
    with (tmp_path / "out").open("wb") as file, pytest.raises(Mp4Error, match="a ends before"):
        write_ranges(file.fileno(), b"", [Range(tmp_path / "a", 99_999, 2)])


def test_a_disk_that_is_full_is_an_error_wherever_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(100_000))
    for length in (100, 10_000, 100_000):
        with Path("/dev/full").open("wb", buffering=0) as file, pytest.raises(OSError, match="space") as raised:
            write_ranges(file.fileno(), b"", [Range(tmp_path / "a", 0, length)], block=8192)
        assert raised.value.errno == errno.ENOSPC


def test_a_full_disk_or_a_stop_leaves_nothing_behind(tmp_path: Path) -> None:
    demuxed = media.demux(media.encode(tmp_path / "s.flv", audio=None, seconds=1, gop=30, size="64x64"))
    table = media.stored_table(demuxed.samples[1], tmp_path / "v")
    folder = tmp_path / "out"
    folder.mkdir()

    def full(copied: int) -> None:
        raise OSError(errno.ENOSPC, f"no space after {copied}")

    with pytest.raises(OSError, match="no space"):
        write_movie(folder / "m.mp4", [MovieTrack(demuxed.configs[0], table)], tick=full)
    assert list(folder.iterdir()) == []


def test_parameter_sets_as_a_byte_stream_give_the_same_entry(source: Path) -> None:
    config = media.demux(source).configs[0]
    record = codec_record(config)
    sets = record_sets(config.codec, record)
    stream = b"".join(b"\0\0\0\1" + nal for nal in sets)
    rebuilt = video_config(config.codec, stream, 90000)
    assert (rebuilt.width, rebuilt.height) == (320, 180)
    assert sorted(record_sets(config.codec, codec_record(rebuilt))) == sorted(sets)
    if config.codec == "h264":
        assert codec_record(rebuilt) == record
