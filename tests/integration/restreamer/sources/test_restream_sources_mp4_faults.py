"""MP4 files that are odd, damaged, cut short or hostile: what is read without FFmpeg is what it gives."""

from __future__ import annotations

import os
import random
import struct
import tracemalloc
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Final

import av
import pytest

from services.restreamer.model import Packet, SourceError
from services.restreamer.sources.containers import known_files
from services.restreamer.sources.containers.demux import Demuxer
from services.restreamer.sources.containers.file_media import FileMedia
from services.restreamer.sources.mp4 import run as mp4_run
from services.restreamer.sources.mp4.run import Mp4Run
from services.restreamer.sources.mp4.tables import read_samples
from services.restreamer.sources.origins.files import LocalFile
from tests.support.mp4_films import TIMES, Film, entries, film_maker, ours, seen


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Film:
    return film_maker(tmp_path_factory.mktemp("films"))


@pytest.fixture
def stops(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Note of each reading without FFmpeg whether it was stopped."""
    ended: list[bool] = []
    frames = Mp4Run.frames
    monkeypatch.setattr(Mp4Run, "frames", lambda run: (yield from frames(run)) or ended.append(run.stopped))
    return ended


@pytest.fixture(autouse=True)
def _unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """No file is known from another test."""
    monkeypatch.setattr(known_files, "_known", OrderedDict())


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
