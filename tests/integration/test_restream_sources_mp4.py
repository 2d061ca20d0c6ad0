"""MP4 files, whose usual frames are read without FFmpeg: whatever the file, frames are those that FFmpeg gives."""

from __future__ import annotations

import os
import random
import struct
import tracemalloc
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any, Final

import av
import pytest

from services.restreamer.model import FLICKS, Kind, Packet, SourceError, Track
from services.restreamer.sources import known_files, mp4_run
from services.restreamer.sources.apart.children import Child
from services.restreamer.sources.apart.confined import Bounds
from services.restreamer.sources.apart.demuxing import apart
from services.restreamer.sources.apart.kept import Keep
from services.restreamer.sources.demux import Demuxer
from services.restreamer.sources.file_media import FileMedia
from services.restreamer.sources.files import LocalFile, Readable
from services.restreamer.sources.frames import Demux, Demuxing
from services.restreamer.sources.mp4_demux import mp4_or
from services.restreamer.sources.mp4_run import Mp4Run
from services.restreamer.sources.mp4_tables import read_samples
from services.restreamer.sources.sniff import Container
from tests.support.media_streams import encode, run

ours = mp4_or(Demuxer)
B: Final = "h264-b"
FILES: Final[dict[str, dict[str, Any]]] = {
    "plain": {"video": B},
    "faststart": {"video": B, "more": ("-movflags", "faststart")},
    "negative offsets": {"video": B, "more": ("-movflags", "negative_cts_offsets")},
    "without edit lists": {"video": B, "more": ("-use_editlist", "0")},
    "without sound": {"video": B, "audio": None},
    "without reordering": {"video": "h264"},
    "29.97": {"video": B, "rate": "30000/1001"},
    "an odd timescale": {"video": B, "more": ("-video_track_timescale", "99991")},
    "a coarse timescale": {"video": B, "rate": "25", "more": ("-video_track_timescale", "25")},
    "44.1 kHz": {"video": B, "more": ("-ar", "44100")},
    "open GOPs": {"video": B, "more": ("-x264-params", "open-gop=1:bframes=2")},
    "intra refresh": {"video": "h264", "more": ("-x264-params", "intra-refresh=1")},
    "SEI and delimiters": {
        "video": B, "more": ("-x264-params", "nal-hrd=vbr:vbv-maxrate=900:vbv-bufsize=900:aud=1"),
    },
    "slices": {"video": "h264", "more": ("-x264-params", "slices=4")},
    "variable rate": {
        "video": B, "more": ("-vf", "select='not(mod(n,7))+not(mod(n,3))+lt(n,20)'", "-fps_mode", "vfr"),
    },
    "sound ends early": {"video": B, "more": ("-af", "atrim=0:2.2")},
    "sound goes on": {"video": B, "more": ("-vf", "trim=0:2.8")},
    "a movie's own timescale": {"video": B, "more": ("-movie_timescale", "48000")},
    "4:2:2": {"video": B, "more": ("-pix_fmt", "yuv422p")},
}  # fmt: skip
COPIES: Final[dict[str, tuple[str, ...]]] = {
    "sound comes late": ("-i", "{plain}", "-itsoffset", "1.3", "-i", "{plain}", "-map", "0:v", "-map", "1:a"),
    "pictures come late": ("-itsoffset", "0.7", "-i", "{plain}", "-i", "{plain}", "-map", "0:v", "-map", "1:a"),
    "sound comes far later": ("-i", "{plain}", "-itsoffset", "12", "-i", "{plain}", "-map", "0:v", "-map", "1:a"),
    "several sounds": ("-i", "{plain}", "-i", "{44.1 kHz}", "-map", "1:a", "-map", "0:v", "-map", "0:a"),
    "cut between keyframes": ("-ss", "1.4", "-i", "{plain}", "-map", "0"),
    "rotated": ("-display_rotation", "90", "-i", "{plain}", "-map", "0"),
    "avc3": ("-i", "{plain}", "-map", "0", "-tag:v", "avc3"),
    "not interleaved": ("-i", "{plain}", "-map", "0", "-max_interleave_delta", "1", "-chunk_duration", "3000000"),
    "a cover": ("-i", "{plain}", "-i", "{picture}", "-map", "0", "-map", "1", "-disposition:v:1", "attached_pic"),
    "QuickTime": ("-i", "{plain}", "-map", "0", "-f", "mov"),
}
ODD: Final[dict[str, tuple[str, ...]]] = {
    "fragmented": ("-i", "{plain}", "-map", "0", "-movflags", "frag_keyframe+empty_moov"),
    "fragmented behind a moov": ("-i", "{plain}", "-map", "0", "-movflags", "frag_keyframe"),
    "two videos, HEVC first": ("-i", "{HEVC}", "-i", "{plain}", "-map", "0:v", "-map", "1:v", "-map", "1:a"),
    "sound alone": ("-i", "{plain}", "-map", "0:a"),
    "PCM": ("-i", "{plain}", "-map", "0", "-c:a", "pcm_s16le", "-f", "mov"),
    "HEVC": ("-i", "{HEVC}", "-map", "0"),
    "MP3": ("-i", "{plain}", "-map", "0", "-c:a", "libmp3lame"),
    "encrypted": (
        "-i", "{plain}", "-map", "0", "-encryption_scheme", "cenc-aes-ctr",
        "-encryption_key", "76a6c65c5ea762046bd749a2e632ccbb", "-encryption_kid", "a7e61c373e219033c21091fa607bf3b8",
    ),
}  # fmt: skip

Film = Callable[[str], Path]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Film:
    folder, made = tmp_path_factory.mktemp("films"), dict[str, Path]()

    def make(name: str) -> Path:
        if name in made:
            return made[name]
        path = made[name] = folder / f"{len(made)}{'.png' if name == 'picture' else '.mp4'}"
        options: dict[str, object] = {"size": "160x96", "seconds": 4, "gop": 25}
        if name == "picture":
            run("-v", "error", "-f", "lavfi", "-i", "color=size=64x64", "-frames:v", "1", path)
        elif name == "HEVC":
            encode(path, video="hevc", size="160x96", seconds=2)
        elif name in FILES:
            encode(path, **options | FILES[name])
        else:
            words = (COPIES | ODD)[name]
            given = [str(make(word[1:-1])) if word.startswith("{") else word for word in words]
            codecs = ("-c", "copy") if "-c:a" not in words else ("-c:v", "copy")
            run("-v", "error", *given, *codecs, "-flags", "+bitexact", path)
        return path

    return make


Read = tuple[Track | None, Track | None, list[Packet], str]


@dataclass
class Seen:
    """What a file gives: how it is described, its packets from several times on, and why it ends."""

    about: list[object] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    why: str = ""


def seen(path: Path, demux: Demux, starts: tuple[float, ...] = (0,)) -> Seen:
    """Read a file from each time on, one after the other."""
    try:
        media = FileMedia(LocalFile(os.open(path, os.O_RDONLY)), "mp4", demux=demux)
    except SourceError as error:
        return Seen(why=str(error))
    try:
        found = Seen([media.video, media.audio, media.duration, media.zero, media.cover, media.wall_start_ms])
        for start in starts:
            packets, why = list[Packet](), ""
            try:
                packets += media.packets(round(start * FLICKS))
            except SourceError as error:
                why = str(error)
            found.reads.append((media.video, media.audio, packets, why))
        return found
    finally:
        media.close()


@pytest.fixture
def stops(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Note of each reading without FFmpeg whether it was stopped."""
    ended: list[bool] = []
    frames = Mp4Run.frames
    monkeypatch.setattr(Mp4Run, "frames", lambda run: (yield from frames(run)) or ended.append(run.stopped))
    return ended


@pytest.mark.parametrize("block", [mp4_run.BLOCK, 1000])
@pytest.mark.parametrize("name", [*FILES, *COPIES])
def test_frames_are_those_that_ffmpeg_gives(
    film: Film, name: str, block: int, stops: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mp4_run, "BLOCK", block)
    monkeypatch.setattr(mp4_run, "WINDOW", 8 if block == 1000 else mp4_run.WINDOW)
    path = film(name)
    assert seen(path, ours) == seen(path, Demuxer)
    assert stops == [False]  # so all of it was read here


@pytest.fixture(autouse=True)
def _unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """No file is known from another test."""
    monkeypatch.setattr(known_files, "_known", OrderedDict())


@pytest.mark.parametrize("name", [*FILES, *COPIES])
def test_a_file_that_was_read_before_is_the_same_without_being_opened(
    film: Film, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_files, "SETTLED_NS", 0)
    opened: list[Container] = []

    def counted(file: Readable, container: Container) -> Demuxing:
        opened.append(container)
        return Demuxer(file, container)

    path = film(name)
    for starts in ((0,), STARTS, (2.5, 0)):
        here, there = seen(path, mp4_or(counted), starts), seen(path, Demuxer, starts)
        assert here == there
    assert len(opened) == 1


STARTS: Final = (1.9, 0, 0.03, 3.99, 2.5, 0.84, 1.667, 3.2, 9, 0)


@pytest.mark.parametrize("name", [*FILES, *COPIES])
def test_a_file_is_entered_where_ffmpeg_enters_it(film: Film, name: str, stops: list[bool]) -> None:
    path = film(name)
    mine, theirs = seen(path, ours, STARTS), seen(path, Demuxer, STARTS)
    assert mine.about == theirs.about
    for start, (here, there) in zip(STARTS, zip(mine.reads, theirs.reads, strict=True), strict=True):
        assert here == there, start
    assert not any(stops)
    assert stops


TIMES: Final = (0, 0.02, 0.8, 0.83, 0.84, 1.2, 1.65, 1.667, 2.49, 2.5, 2.57, 3.33, 3.34, 3.9, 5, -1)


def entries(path: Path, demux: Demux, times: tuple[float, ...] = TIMES) -> list[object]:
    """Give the first frame of each track after seeking."""
    found: list[object] = []
    for time in times:
        file = LocalFile(os.open(path, os.O_RDONLY))
        demuxer = demux(file, "mp4")
        next(demuxer.frames())
        first: dict[Kind, tuple[int | None, int, bool]] = {}
        assert demuxer.seek(round(time * FLICKS))
        for raw in demuxer.frames():
            first.setdefault(raw.kind, (raw.dts, raw.pts, raw.key))
            if len(first) == demuxer.has_video + demuxer.has_audio:
                break
        found.append((time, first))
        demuxer.close()
        file.close()
    return found


@pytest.mark.parametrize("name", [*FILES, *COPIES])
def test_a_seek_leads_where_that_of_ffmpeg_leads(film: Film, name: str) -> None:
    path = film(name)
    assert entries(path, ours) == entries(path, Demuxer)


@pytest.mark.parametrize("name", ODD)
def test_what_is_odd_is_left_to_ffmpeg(film: Film, name: str, stops: list[bool]) -> None:
    path = film(name)
    assert seen(path, ours, (0, 1.5)) == seen(path, Demuxer, (0, 1.5))
    assert not stops


def boxes(data: bytes, kind: bytes) -> list[int]:
    """Find where the bodies of boxes of a kind are, in the order of the tracks."""
    found, at = [], data.find(kind)
    while at >= 0:
        found.append(at + 4)
        at = data.find(kind, at + 4)
    return found


def put(data: bytes, at: int, layout: str, *values: int) -> bytes:
    more = struct.pack(">" + layout, *values)
    return data[:at] + more + data[at + len(more) :]


def edit(track: int, layout: str, *values: int, place: int) -> Callable[[bytes], bytes]:
    """Change a field of a track's only edit: its duration (ms) is at 8, its time at 12, its rate at 16."""
    return lambda data: put(data, boxes(data, b"elst")[track] + place, layout, *values)


EDITED: Final[dict[str, Callable[[bytes], bytes]]] = {
    **{f"pictures end at {ms} ms": edit(0, "I", ms, place=8) for ms in (0, 1, 400, 833, 834, 999, 1700, 2533, 3200)},
    **{f"sound ends at {ms} ms": edit(1, "I", ms, place=8) for ms in (0, 1, 21, 22, 1500, 3977, 3978, 3999)},
    **{f"pictures begin at {at}": edit(0, "i", at, place=12) for at in (0, 512, 1023, 1536, 12799, 14000, 60000)},
    **{f"sound begins at {at}": edit(1, "i", at, place=12) for at in (0, 1, 1023, 2048, 30000, 49024, 90000)},
    "an empty edit alone": edit(0, "i", -1, place=12),
    "an edit before all": edit(0, "i", -2, place=12),
    "another rate": edit(0, "I", 0x20000, place=16),
    "no rate": edit(1, "I", 0, place=16),
}  # fmt: skip


@pytest.mark.parametrize("name", ["plain", "without reordering", "negative offsets"])
def test_edits_leave_away_what_ffmpeg_leaves_away(film: Film, name: str, tmp_path: Path, stops: list[bool]) -> None:
    path, data = tmp_path / "film.mp4", film(name).read_bytes()
    read = 0
    for case, change in EDITED.items():
        path.write_bytes(change(data))
        stops.clear()
        mine, theirs = seen(path, ours, (0, 1.7)), seen(path, Demuxer, (0, 1.7))
        assert mine == theirs, case
        read += bool(stops)
        assert not mine.about or entries(path, ours, TIMES[2::4]) == entries(path, Demuxer, TIMES[2::4]), case
    assert read > len(EDITED) // 2


def places(path: Path) -> list[tuple[int, int]]:
    """Give where each picture is, and its size."""
    with av.open(str(path)) as opened:
        return [(packet.pos or 0, packet.size) for packet in opened.demux(video=0) if packet.size]


PICTURES: Final[dict[str, bytes]] = {
    "a NAL unit of another kind": b"\0\0\0\2\x78\0",
    "a NAL unit of no length": bytes(5),
    "a NAL unit longer than its picture": b"\0\1\0\0\x41",
    "a broken SEI": b"\0\0\0\3\6\xff\xff",
    "garbage": b"garbage!",
}


@pytest.mark.parametrize("case", PICTURES)
def test_from_an_odd_picture_on_ffmpeg_reads(film: Film, case: str, tmp_path: Path, stops: list[bool]) -> None:
    path, data = tmp_path / "film.mp4", bytearray(film("plain").read_bytes())
    at = next(at for at, size in places(film("plain"))[70:] if size > 40)
    data[at : at + len(PICTURES[case])] = PICTURES[case]
    path.write_bytes(data)
    assert seen(path, ours, (0, 0.9)) == seen(path, Demuxer, (0, 0.9))
    assert stops == [True]


@pytest.mark.parametrize("name", ["plain", "faststart"])
@pytest.mark.parametrize("kept", [0.2, 0.7, 0.97, 0.9999])
def test_a_file_that_is_cut_short_ends_as_ffmpeg_ends_it(film: Film, name: str, kept: float, tmp_path: Path) -> None:
    path, data = tmp_path / "film.mp4", film(name).read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    assert seen(path, ours, (0, 1.5)) == seen(path, Demuxer, (0, 1.5))


def told(packets: list[Packet]) -> list[object]:
    """Give what packets are without how long they last, which the next one tells."""
    return [(packet.kind, packet.dts, packet.pts, packet.key, packet.data) for packet in packets]


def test_a_file_that_shrinks_while_it_is_read_ends(film: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, data = tmp_path / "film.mp4", film("faststart").read_bytes()
    path.write_bytes(data)
    monkeypatch.setattr(mp4_run, "BLOCK", 1000)
    whole = seen(path, ours).reads[0][2]
    media = FileMedia(LocalFile(os.open(path, os.O_RDONLY)), "mp4", demux=ours)
    os.truncate(path, len(data) // 2)
    some, packets = list[Packet](), media.packets(0)
    with pytest.raises(SourceError):
        some.extend(packets)
    media.close()
    assert 64 < len(some) < len(whole)
    assert [(p.kind, p.dts, p.pts, p.data) for p in some] == [
        (p.kind, p.dts, p.pts, p.data) for p in whole[: len(some)]
    ]


def test_a_disk_that_fails_ends_the_file_behind_what_was_read(
    film: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = film("plain")
    whole = seen(path, ours).reads[0][2]
    reads, read_at = iter(range(100_000)), LocalFile.read_at

    known_files._known.clear()

    def failing(file: LocalFile, offset: int, buffer: memoryview) -> int:
        if next(reads) > 150:
            raise SourceError("the file cannot be read: Input/output error")
        return read_at(file, offset, buffer)

    monkeypatch.setattr(mp4_run, "BLOCK", 1000)
    monkeypatch.setattr(LocalFile, "read_at", failing)
    ((_, _, some, why),) = seen(path, ours).reads
    assert 64 < len(some) < len(whole)
    assert told(some) == told(whole)[: len(some)]
    assert why == "the file cannot be read: Input/output error"


VALUES: Final = (0, 1, 2, 3, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFF0, 1000, 1 << 20, 1 << 24)


def damaged(data: bytes, chance: random.Random) -> bytes:
    """Change some bytes of the moov, which is at the end."""
    out, begin = bytearray(data), data.rindex(b"moov") - 4
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        at = chance.randrange(begin, len(data) - 4)
        match chance.randrange(3):
            case 0:
                out[at] = chance.randrange(256)
            case 1:
                out[at] ^= 1 << chance.randrange(8)
            case _:
                at = begin + (at - begin) // 4 * 4
                out[at : at + 4] = chance.choice(VALUES).to_bytes(4, "big")
    return bytes(out)


def test_damaged_tables_come_out_as_with_ffmpeg(film: Film, tmp_path: Path, stops: list[bool]) -> None:
    path, data = tmp_path / "film.mp4", film("plain").read_bytes()
    for seed in range(150):
        path.write_bytes(damaged(data, random.Random(seed)))
        assert seen(path, ours, (0, 1.5)) == seen(path, Demuxer, (0, 1.5)), seed
    assert len(stops) > 25  # of these, the damage changes nothing that counts


HOSTILE: Final[dict[str, Callable[[bytes], bytes]]] = {
    f"{kind.decode()} {value:#x} at {at}": lambda data, kind=kind, at=at, value=value: put(
        data, boxes(data, kind)[0] + at, "I", value
    )
    for kind, places in {
        b"stsz": (4, 8, 12, 40), b"stts": (4, 8, 12), b"ctts": (4, 8, 12, 20), b"stsc": (4, 8, 12, 16, 20),
        b"stco": (4, 8, 200), b"stss": (4, 8, 12), b"mdhd": (12,), b"mvhd": (12,), b"tkhd": (12,), b"elst": (4, 8, 12),
    }.items()
    for at in places
    for value in (0, 2, 0x00200000, 0xFFFFFFFF)
}  # fmt: skip


def test_hostile_tables_take_little_memory(film: Film, tmp_path: Path) -> None:
    path, data = tmp_path / "film.mp4", film("plain").read_bytes()
    for case, change in HOSTILE.items():
        path.write_bytes(change(data))
        file = LocalFile(os.open(path, os.O_RDONLY))
        tracemalloc.start()
        read_samples(file, path.stat().st_size)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        file.close()
        assert most < 1 << 20, case
        assert seen(path, ours, (0, 1.5)) == seen(path, Demuxer, (0, 1.5)), case


def test_no_child_is_held_while_a_strangers_file_is_read_here(film: Film, stops: list[bool]) -> None:
    class Counted(Keep):
        held = 0

        def child(self, stop: Event, bounds: Bounds | None = None) -> Child:
            self.held += 1
            return super().child(stop, bounds)

        def give(self, child: Child) -> None:
            self.held -= 1
            super().give(child)

    path, family = film("plain"), Counted()
    demux = mp4_or(apart(Event(), family))
    media = FileMedia(LocalFile(os.open(path, os.O_RDONLY)), "mp4", demux=demux)
    assert family.held == 0
    media.close()
    assert seen(path, demux, (0, 1.7)) == seen(path, Demuxer, (0, 1.7))
    assert stops
    assert family.held == 0
    family.close()
