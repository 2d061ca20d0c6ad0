"""FLV files, whose usual tags are read without FFmpeg: whatever the file, frames are those that FFmpeg gives."""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any, Final

import pytest

from services.restreamer.model import Packet, SourceError, Track
from services.restreamer.sources.apart.demuxing import apart
from services.restreamer.sources.containers import known_files
from services.restreamer.sources.containers.demux import Demuxer
from services.restreamer.sources.containers.file_media import FileMedia
from services.restreamer.sources.containers.sniff import Container
from services.restreamer.sources.flv import run as flv_run
from services.restreamer.sources.flv.demux import flv_or
from services.restreamer.sources.flv.run import Run
from services.restreamer.sources.frames import Demux, Demuxing
from services.restreamer.sources.origins.files import LocalFile, Readable
from tests.support.media_streams import encode
from tests.support.rtmp_client import read_flv

Tag = tuple[int, int, bytes]
SOUND, VIDEO, SCRIPT = 8, 9, 18
HRD: Final = "nal-hrd=vbr:vbv-maxrate=900:vbv-bufsize=900:aud=1"
FILES: Final[dict[str, dict[str, Any]]] = {
    "plain": {"video": "h264-b"},
    "without sound": {"video": "h264-b", "audio": None},
    "without reordering": {"video": "h264"},
    "sound alone": {"video": None},
    "open GOPs": {"video": "h264-b", "more": ("-x264-params", "open-gop=1:bframes=2")},
    "intra refresh": {"video": "h264", "more": ("-x264-params", "intra-refresh=1")},
    "SEI and delimiters": {
        "video": "h264-b",
        "more": ("-x264-params", "nal-hrd=vbr:vbv-maxrate=900:vbv-bufsize=900:aud=1"),
    },
    "slices": {"video": "h264", "more": ("-x264-params", "slices=4")},
    "29.97": {"video": "h264-b", "rate": "30000/1001"},
    "MP3": {"audio": "mp3"},
    "larger": {"video": "h264-b", "size": "320x180"},
}


@pytest.fixture(autouse=True)
def _unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """No file is known from another test."""
    monkeypatch.setattr(known_files, "_known", OrderedDict())


def write(tags: Sequence[Tag]) -> bytes:
    out = [b"FLV\x01\x05\0\0\0\x09" + bytes(4)]
    for kind, ms, body in tags:
        head = bytes((kind,)) + len(body).to_bytes(3, "big") + (ms & 0xFFFFFF).to_bytes(3, "big") + bytes((ms >> 24,))
        out.append(head + bytes(3) + body + (len(body) + 11).to_bytes(4, "big"))
    return b"".join(out)


def moved(tags: Sequence[Tag], by: int) -> list[Tag]:
    return [(kind, ms + by, body) for kind, ms, body in tags]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[Tag]]:
    folder, made = tmp_path_factory.mktemp("films"), dict[str, list[Tag]]()

    def film(name: str) -> list[Tag]:
        if name not in made:
            options = {"size": "160x96"} | FILES[name] | {"seconds": 3, "gop": 30}
            made[name] = list(read_flv(encode(folder / f"{len(made)}.flv", **options).read_bytes()))
        return made[name]

    return film


def whole(media: FileMedia) -> list[tuple[Track | None, Track | None, int | None, list[Packet], str]]:
    """Read a file to its end, part by part: its tracks, where it goes on, its packets, and what ends it."""
    parts, at, why = [], 0, ""
    while True:
        packets: list[Packet] = []
        try:
            packets += media.packets(at)
        except SourceError as error:
            why = str(error)
        parts.append((media.video, media.audio, media.resumes, packets, why))
        if media.resumes is None or why:
            return parts
        at = media.resumes


def both(path: Path, opener: Demux = Demuxer) -> tuple[list[Any], list[Any]]:
    """Read a file by FFmpeg, and as it is read: `opener` opens it then."""
    found: list[list[Any]] = []
    for demux in (Demuxer, flv_or(opener)):
        try:
            media = FileMedia(LocalFile(os.open(path, os.O_RDONLY)), "flv", demux=demux)
        except SourceError as error:
            found.append([str(error)])
            continue
        found.append([media.video, media.audio, media.duration, media.zero, *whole(media)])
        media.close()
    return found[0], found[1]


@pytest.mark.parametrize("block", [flv_run.BLOCK, 1000])
@pytest.mark.parametrize("name", FILES)
def test_frames_are_those_that_ffmpeg_gives(
    films: Callable[[str], list[Tag]], name: str, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flv_run, "BLOCK", block)
    stops: list[int | None] = []
    frames = Run.frames
    monkeypatch.setattr(Run, "frames", lambda run: (yield from frames(run)) or stops.append(run.stopped))
    path = tmp_path / "film.flv"
    path.write_bytes(write(films(name)))
    theirs, ours = both(path)
    assert ours == theirs
    assert stops == ([] if name in {"sound alone", "MP3"} else [None])  # so all of it was read here


def place(tags: Sequence[Tag], kind: int, after_ms: int, first: int | None = None) -> int:
    """Find the first tag of a kind from a time on; `first`: whose body begins so."""
    found = (n for n, tag in enumerate(tags) if tag[0] == kind and tag[1] >= after_ms)
    return next(n for n in found if first is None or tags[n][2][0] == first)


def key(tags: Sequence[Tag]) -> int:
    """Find the keyframe at 2 s."""
    return place(tags, VIDEO, 1900, 0x17)


def changed(kind: int, body: Callable[[bytes], bytes], first: int | None = None) -> Change:
    """Change the body of a tag in the middle."""

    def change(tags: list[Tag], _: Film) -> bytes:
        at = place(tags, kind, 1500, first)
        return write([*tags[:at], (*tags[at][:2], body(tags[at][2])), *tags[at + 1 :]])

    return change


def inserted(*more: Tag, at_key: bool = True) -> Change:
    """Put tags before a keyframe, or before a picture that is none; their time is that one's."""

    def change(tags: list[Tag], _: Film) -> bytes:
        at = key(tags) if at_key else place(tags, VIDEO, 1500, 0x27)
        return write([*tags[:at], *((kind, tags[at][1], body) for kind, _, body in more), *tags[at:]])

    return change


def followed(name: str) -> Change:
    """Go on with another film at the keyframe at 2 s."""
    return lambda tags, film: write([*tags[: key(tags)], *moved(film(name), 2000)])


def ending(change: Callable[[bytes], bytes]) -> Change:
    return lambda tags, _: change(write(tags))


def again(tags: list[Tag], _: Film) -> bytes:
    """Repeat both headers before each keyframe, as some servers do."""
    headers = [tag for tag in tags if tag[0] != SCRIPT and tag[2][1] == 0]
    out: list[Tag] = []
    for tag in tags:
        begins = tag[0] == VIDEO and tag[2][:2] == b"\x17\1" and tag[1] > 500
        out += [(kind, tag[1], body) for kind, _, body in headers] if begins else []
        out.append(tag)
    return write(out)


def jumping(by: int, kinds: Sequence[int] = (SOUND, VIDEO)) -> Change:
    def change(tags: list[Tag], _: Film) -> bytes:
        at = key(tags)
        return write([*tags[:at], *((kind, ms + by * (kind in kinds), body) for kind, ms, body in tags[at:])])

    return change


def in_the_middle(data: bytes) -> Change:
    def change(tags: list[Tag], _: Film) -> bytes:
        at = place(tags, SOUND, 1500)
        return write(tags[:at]) + data + write(tags[at:])[13:]

    return change


def offset(ms: int) -> Callable[[bytes], bytes]:
    return lambda body: body[:2] + (ms & 0xFFFFFF).to_bytes(3, "big") + body[5:]


Film = Callable[[str], list[Tag]]
Change = Callable[[list[Tag], Film], bytes]
ODD: Final[dict[str, Change]] = {
    "metadata in the middle": inserted((SCRIPT, 0, b"\2\0\nonCuePoint\5")),
    "metadata between pictures": inserted((SCRIPT, 0, b"\2\0\nonCuePoint\5"), at_key=False),
    "headers again": again,
    "another size": followed("larger"),
    "another codec of sound": followed("MP3"),
    "sound ends": followed("without sound"),
    "a jump ahead": jumping(20_000),
    "a jump back": jumping(-1500),
    "sound jumps": jumping(12_000, (SOUND,)),
    "times of weeks": lambda tags, _: write(moved(tags, (1 << 31) - 1500)),
    "times beyond 24 bits": lambda tags, _: write(moved(tags, (1 << 24) - 1500)),
    "shown before it is decoded": changed(VIDEO, offset(-30), 0x27),
    "shown in 20 min": changed(VIDEO, offset(1_200_000), 0x27),
    "a disposable picture": changed(VIDEO, lambda body: b"\x37" + body[1:], 0x27),
    "a keyframe that says it is none": changed(VIDEO, lambda body: b"\x27" + body[1:], 0x17),
    "a picture that says it is a keyframe": changed(VIDEO, lambda body: b"\x17" + body[1:], 0x27),
    "a picture without data": changed(VIDEO, lambda body: body[:5], 0x27),
    "a NAL unit longer than its picture": changed(VIDEO, lambda body: body[:5] + b"\0\1" + body[7:], 0x27),
    "a NAL unit of no length": changed(VIDEO, lambda body: body[:5] + bytes(4) + body[5:], 0x27),
    "a NAL unit of another kind first": changed(VIDEO, lambda body: body[:5] + b"\0\0\0\2\x78\0" + body[5:], 0x27),
    "a recovery point without data": changed(VIDEO, lambda body: body[:5] + b"\0\0\0\4\6\6\0\x80" + body[5:], 0x27),
    "an SEI that breaks off": changed(VIDEO, lambda body: body[:5] + b"\0\0\0\4\6\xff\xff\xff" + body[5:], 0x27),
    "a large picture": changed(VIDEO, lambda body: body + b"\0\4\0\0\x0c" + b"\xff" * 0x3FFFF, 0x27),
    "sound without data": changed(SOUND, lambda body: body[:2]),
    "an empty tag": changed(SOUND, lambda _: b""),
    "sound that says another rate": changed(SOUND, lambda body: b"\xa2" + body[1:]),
    "the end of a sequence": inserted((VIDEO, 0, b"\x17\2\0\0\0")),
    "a command": inserted((VIDEO, 0, b"\x57\0")),
    "garbage": in_the_middle(b"garbage!" * 99),
    "zeros": in_the_middle(bytes(500)),
    "ends within a picture": ending(lambda data: data[:-400]),
    "ends within a tag's header": lambda tags, _: write(tags) + b"\x09\0\1",
    "ends with a tag's header": lambda tags, _: write(tags) + b"\x09\0\1\0\0\0\0\0\0\0\0",
    "ends without a back pointer": ending(lambda data: data[:-4]),
    "ends with half a back pointer": ending(lambda data: data[:-2]),
    "ends with zeros": ending(lambda data: data + bytes(1000)),
    "ends with garbage": ending(lambda data: data + b"garbage!" * 99),
    "ends after its headers": lambda tags, _: write(tags[:3]),
    "wrong back pointers": lambda tags, _: b"".join(
        [write(tags[:1]), *(write([tag])[13:-4] + bytes(4) for tag in tags[1:])]
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_was_read_before_is_the_same_without_being_opened(
    films: Film, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_files, "SETTLED_NS", 0)
    opened: list[Container] = []

    def counted(file: Readable, container: Container) -> Demuxing:
        opened.append(container)
        return Demuxer(file, container)

    path = tmp_path / "film.flv"
    path.write_bytes(write(films(name)))
    for _ in range(3):
        theirs, ours = both(path, counted)
        assert ours == theirs
    assert len(opened) == (3 if name in {"sound alone", "MP3"} else 1)
    path.write_bytes(write(films("29.97")))  # in its place
    theirs, ours = both(path, counted)
    assert ours == theirs


def test_a_file_that_was_just_written_is_opened_each_time(films: Film, tmp_path: Path) -> None:
    path = tmp_path / "film.flv"
    path.write_bytes(write(films("plain")))
    both(path)
    assert not known_files._known


def test_a_file_that_was_just_written_when_it_was_opened_is_opened_again(
    films: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have been written once more at the same time of the disk's clock; reading it takes as long as it plays."""
    path = tmp_path / "film.flv"
    path.write_bytes(write(films("plain")))
    media = FileMedia(LocalFile(os.open(path, os.O_RDONLY)), "flv", demux=flv_or(Demuxer))
    later = SimpleNamespace(time_ns=lambda: time.time_ns() + 3600 * 10**9)
    monkeypatch.setattr(known_files, "time", later)
    whole(media)
    media.close()
    assert not known_files._known


@pytest.mark.parametrize("case", ODD)
def test_what_is_odd_is_left_to_ffmpeg(films: Film, case: str, tmp_path: Path) -> None:
    path = tmp_path / "film.flv"
    path.write_bytes(ODD[case](films("plain"), films))
    theirs, ours = both(path)
    assert ours == theirs


@pytest.mark.parametrize("case", ["headers again", "another codec of sound", "a jump ahead", "garbage", "sound ends"])
def test_a_child_opens_the_file_and_goes_on_where_it_is_odd(films: Film, case: str, tmp_path: Path) -> None:
    path = tmp_path / "film.flv"
    path.write_bytes(ODD[case](films("plain"), films))
    theirs, ours = both(path, apart(Event()))
    assert ours == theirs


def test_no_child_is_held_while_the_file_is_read_here(films: Film, tmp_path: Path) -> None:
    path = tmp_path / "film.flv"
    path.write_bytes(write(films("plain")))
    opened: list[Demuxing] = []
    closed: list[Demuxing] = []

    class Noted(Demuxer):
        def close(self) -> None:
            closed.append(self)
            super().close()

    def noted(file: Readable, container: Container) -> Demuxing:
        demuxer = Noted(file, container)
        opened.append(demuxer)
        return demuxer

    media = FileMedia(LocalFile(os.open(path, os.O_RDONLY)), "flv", demux=flv_or(noted))
    packets = media.packets(0)
    assert sum(1 for _ in zip(range(60), packets, strict=False)) == 60
    assert opened == closed
    media.close()
    assert len(closed) == 1


def test_a_disk_that_fails_ends_the_file_behind_what_was_read(
    films: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "film.flv"
    path.write_bytes(write(films("plain")))
    _, complete = both(path)
    reads, read_at = iter(range(1000)), LocalFile.read_at

    def failing(file: LocalFile, offset: int, buffer: memoryview) -> int:
        if next(reads) > 8:
            raise SourceError("the file cannot be read: Input/output error")
        return read_at(file, offset, buffer)

    monkeypatch.setattr(flv_run, "BLOCK", 1000)
    monkeypatch.setattr(LocalFile, "read_at", failing)
    _, found = both(path)
    (_, _, _, every, _), (_, _, _, some, why) = complete[4], found[4]
    assert 10 < len(some) < len(every)
    times = [(packet.kind, packet.dts, packet.pts, packet.data) for packet in every]
    assert [(packet.kind, packet.dts, packet.pts, packet.data) for packet in some] == times[: len(some)]
    assert why == "the file cannot be read: Input/output error"
