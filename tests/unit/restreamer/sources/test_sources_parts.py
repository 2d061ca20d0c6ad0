"""Parts of sources that need no server and no encoder."""

from __future__ import annotations

import io
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

import pytest

from services.restreamer.model import FLICKS, Packet, SourceError, Track
from services.restreamer.sources.containers.payloads import Adts, ByteStream, Relengthed
from services.restreamer.sources.containers.sniff import index_comes_late, sniff
from services.restreamer.sources.containers.timing import Steady, complete, merged, timed
from services.restreamer.sources.flv.seek import flv_from
from services.restreamer.sources.frames import Raw
from services.restreamer.sources.origins.files import LocalFile
from services.restreamer.sources.playlists.playlist import Bytes, parse_playlist
from services.restreamer.sources.ranges import resolve_range
from shared.media.mp4.boxes import box
from shared.messages.restreams import Range

MS = FLICKS // 1000


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (box(b"ftyp", b"isom"), "mp4"),
        (b"FLV\x01\x05", "flv"),
        (b"\x1a\x45\xdf\xa3", "matroska"),
        (b"\xef\xbb\xbf#EXTM3U\n", "m3u8"),
        ((b"\x47" + bytes(187)) * 4, "mpegts"),
        (b"xyz" + (b"\x47" + bytes(187)) * 4, "mpegts"),
        ((bytes(4) + b"\x47" + bytes(187)) * 4, "mpegts"),
    ],
)
def test_a_file_is_told_by_its_first_bytes(head: bytes, kind: str) -> None:
    assert sniff(head) == kind


@pytest.mark.parametrize(
    ("head", "what"), [(b"", "empty"), (b" \n<html>", "web page"), (b"\x89PNG\r\n", "picture"), (b"GGGG", "something")]
)
def test_what_is_no_video_is_named(head: bytes, what: str) -> None:
    with pytest.raises(SourceError, match=f"wrong type: .*{what}"):
        sniff(head)


def test_an_index_that_comes_late_is_seen_by_the_first_boxes() -> None:
    head = box(b"ftyp", b"isom") + box(b"free")
    assert index_comes_late(head + b"\0\xff\0\0mdat" + bytes(99))
    assert index_comes_late(head + b"\0\0\0\1mdat" + (1 << 33).to_bytes(8, "big"))
    assert not index_comes_late(head + box(b"moov") + box(b"mdat"))
    assert not index_comes_late(head)


def test_a_playlist_s_ranges_maps_and_runs() -> None:
    text = """#EXTM3U
#EXT-X-MEDIA-SEQUENCE:7
#EXT-X-MAP:URI="init.mp4",BYTERANGE="100@0"
#EXTINF:2.5,a title, with commas
#EXT-X-BYTERANGE:1000@100
all.mp4
#EXTINF:2,
#EXT-X-BYTERANGE:500
all.mp4
#EXT-X-DISCONTINUITY
#EXT-X-KEY:METHOD=AES-128,URI="k?x=1,2",IV=0x0F
#EXTINF:1.5,
b.mp4
#EXT-X-GAP
#EXTINF:2,
lost.mp4
#EXT-X-KEY:METHOD=NONE
#EXTINF:3,
c.mp4
"""
    first, second, third, last = parse_playlist(text, 10)
    assert first.bytes == Bytes("all.mp4", 100, 1000)
    assert second.bytes == Bytes("all.mp4", 1100, 500)
    assert first.first == Bytes("init.mp4", 0, 100)
    assert [s.run for s in (first, second, third, last)] == [0, 0, 1, 2]
    assert [s.start // MS for s in (first, second, third, last)] == [0, 2500, 4500, 8000]
    assert third.key is not None
    assert (third.key.uri, third.key.iv) == ("k?x=1,2", (15).to_bytes(16, "big"))
    assert (last.key, last.sequence) == (None, 11)


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ("", "no segments"),
        ("a.ts", "without a duration"),
        ("#EXTINF:-1,\na.ts", "makes no sense"),
        ("#EXTINF:1e9,\na.ts", "makes no sense"),
        ("#EXTINF:2,\n#EXT-X-BYTERANGE:0@5\na.ts", "byte range"),
        ("#EXTINF:2,\na.ts\n" * 11, "more than 10"),
        ("#EXTINF:3600,\na.ts\n" * 9 * 83, "more than 10"),
        ("#EXTINF:2,\nlow.M3U8#x", "other playlists"),
        ('#EXT-X-MEDIA:TYPE=AUDIO,URI="a.m3u8"', "other playlists"),
        ('#EXT-X-KEY:METHOD=AES-128,URI="k",IV=0xZZ', "IV"),
    ],
)
def test_a_playlist_that_makes_no_sense_is_refused(lines: str, why: str) -> None:
    with pytest.raises(SourceError, match=why):
        parse_playlist(f"#EXTM3U\n{lines}\n", 10)


def raw(kind: str, dts: int | None, pts: int, *, key: bool = False) -> Raw:
    return Raw(kind, None if dts is None else dts * MS, pts * MS, 40 * MS, key, b"x", None)  # type: ignore[arg-type]


def test_decode_times_that_are_missing_are_counted_back() -> None:
    given = [raw("video", None, 0), raw("video", None, 120), raw("video", 0, 40), raw("video", None, 80)]
    found = list(complete(given))
    assert [(r.dts or 0) // MS for r in found] == [-80, -40, 0, 40]
    assert [r.pts // MS for r in complete([raw("video", None, 0), raw("video", None, 40)])] == [0, 40]


def test_a_jump_of_both_kinds_at_different_places_keeps_them_together() -> None:
    first = [raw(kind, at, at) for at in range(0, 400, 40) for kind in ("video", "audio")]
    second = [raw(kind, at + 3_600_000, at + 3_600_000) for at in range(0, 400, 40) for kind in ("video", "audio")]
    mixed = [*first[:-3], second[0], *first[-3:], *second[1:]]
    steady = Steady()
    found = list(steady.run(mixed))
    assert steady.jumped
    for kind in ("video", "audio"):
        times = [(r.dts or 0) // MS for r in found if r.kind == kind]
        assert times == sorted(times)
        assert max(times) < 900
    last = {r.kind: r.dts or 0 for r in found}
    assert abs(last["video"] - last["audio"]) <= 40 * MS


def test_both_kinds_come_by_decode_time_however_they_lie() -> None:
    raws = [raw("video", at, at) for at in range(0, 2000, 40)] + [raw("audio", at, at) for at in range(0, 2000, 20)]
    found: list[Packet] = [packet for packet, _ in merged(timed(complete(raws), {}), 2)]
    assert len(found) == 150
    assert [p.dts for p in found] == sorted(p.dts for p in found)


SPS = bytes.fromhex("6764000dacd941419f9f01100000030010000003 03c0f1429960")
PPS = bytes.fromhex("68ebe3cb22c0")
START = b"\0\0\0\1"


def test_a_byte_stream_s_sets_become_its_configuration() -> None:
    stream = ByteStream("h264", b"")
    assert stream.take(START + b"\x41early", key=False) == b""  # nobody could decode it
    idr = b"\x65picture"
    taken = stream.take(START + b"\x09\xf0" + START + SPS + START + PPS + START + idr, key=True)
    assert taken == len(idr).to_bytes(4, "big") + idr
    config = stream.config
    assert SPS in config
    assert stream.take(START + SPS + START + PPS + START + idr, key=True) == taken
    assert stream.config is config
    other = PPS[:-1] + b"\xc8"
    assert other in stream.take(START + other + START + b"\x41next", key=False)
    stream.take(START + idr, key=True)
    assert stream.config != config


def test_short_lengths_are_written_anew() -> None:
    record = b"\1\x64\0\x0d\xfd\xe1" + len(SPS).to_bytes(2, "big") + SPS + b"\1\0\6" + PPS
    found = Relengthed("h264", record)
    assert found.config[4] & 3 == 3
    assert found.take(b"\0\3abc\0\1d", key=True) == b"\0\0\0\3abc\0\0\0\1d"
    with pytest.raises(SourceError):
        found.take(b"\0\x09ab", key=True)


def test_adts_headers_become_a_configuration() -> None:
    adts = Adts()
    frame = bytes((0xFF, 0xF1, 0x4C, 0x40, 0x01, 0x3F, 0xFC)) + b"xyz"
    assert adts.take(frame, key=True) == b"xyz"
    assert adts.config == b"\x11\x88"  # AAC-LC, 48 kHz, one channel
    assert adts.take(b"not adts at all", key=True) == b""


def test_little_of_an_flv_is_read_to_find_a_time() -> None:
    tags = [b"\x09" + b"\x27\1\0\0\0" + secrets.token_bytes(4000)] * 5000
    head = b"FLV\1\5\0\0\0\x09\0\0\0\0"
    whole = head + b"".join(
        tag[:1] + (len(tag) - 1).to_bytes(3, "big") + (ms & 0xFFFFFF).to_bytes(3, "big") + b"\0\0\0\0" + tag[1:]
        + (len(tag) + 10).to_bytes(4, "big")
        for ms, tag in zip(range(0, 5000 * 40, 40), tags, strict=True)
    )  # fmt: skip
    file = Counted(whole)
    found = flv_from(file, 100 * FLICKS)
    assert found is not None
    assert found.read(13) == head
    tag = found.read(11)
    assert tag[0] == 9
    assert 85_000 < int.from_bytes(tag[4:7], "big") <= 97_000
    assert file.count < 1 << 20


@pytest.mark.parametrize("offset", [-1, 1 << 63, -(1 << 63)])
def test_an_offset_that_a_file_does_not_have_is_a_fault_of_the_file(tmp_path: Path, offset: int) -> None:
    (tmp_path / "file").write_bytes(b"data")
    file = LocalFile(os.open(tmp_path / "file", os.O_RDONLY))
    with pytest.raises(SourceError, match="an offset that it does not have"):
        file.seek(offset)
    file.close()


class Counted(io.BytesIO):
    """A file that counts what is read."""

    count = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.count += len(data)
        return data


@dataclass
class File:
    """A media without packets."""

    duration: int | None = 100 * FLICKS
    wall_start_ms: int | None = 1_000_000
    video: Track | None = None
    audio: Track | None = None
    resumes: int | None = None

    def packets(self, start: int) -> object:
        raise AssertionError

    def close(self) -> None: ...


def test_ranges_become_flicks() -> None:
    media = File()
    assert resolve_range(media, Range()) == (0, None)  # type: ignore[arg-type]
    assert resolve_range(media, Range(start=5, end=9)) == (5, 9)  # type: ignore[arg-type]
    wall = Range(clock="wall", start=990_000, end=1_010_000)
    assert resolve_range(media, wall) == (0, 10 * FLICKS)  # type: ignore[arg-type]


def test_a_wall_clock_that_is_not_known_is_told() -> None:
    with pytest.raises(SourceError, match="wall clock"):
        resolve_range(File(wall_start_ms=None), Range(clock="wall", start=1, end=2))  # type: ignore[arg-type]


DATES = [
    ("2024-05-01T10:00:00.577+02:00", 1_714_550_400_577),
    ("2024-05-01T08:00:00.577Z", 1_714_550_400_577),
    ("2024-05-01T08:00:00.001", 1_714_550_400_001),
    ("2024-05-01T08:00:00.000999Z", 1_714_550_400_001),
    ("2024-05-01T10:00:00+0200", 1_714_550_400_000),
    ("some day", None),
]


@pytest.mark.parametrize(("text", "wall_ms"), DATES)
def test_a_date_of_a_playlist_is_told_to_the_millisecond(text: str, wall_ms: int | None) -> None:
    segments = parse_playlist(f"#EXTM3U\n#EXT-X-PROGRAM-DATE-TIME:{text}\n#EXTINF:2,\na.ts\n", 10)
    assert segments[0].wall_ms == wall_ms


def test_a_date_holds_for_what_follows_and_is_told_anew_behind_a_discontinuity() -> None:
    text = "#EXTM3U\n#EXTINF:2,\na.ts\n#EXT-X-PROGRAM-DATE-TIME:2024-05-01T08:00:00Z\n"
    text += "#EXTINF:2.0025,\nb.ts\n" * 3 + "#EXT-X-DISCONTINUITY\n" + "#EXTINF:2,\nc.ts\n" * 2
    dates = [s.wall_ms for s in parse_playlist(text, 10)]
    assert dates == [None, 1_714_550_400_000, None, None, 1_714_550_406_008, None]
