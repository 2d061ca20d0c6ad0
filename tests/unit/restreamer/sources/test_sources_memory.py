"""What is held of a file while it is looked at is bounded in bytes, however large its frames are."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Final, cast

import pytest

from services.restreamer.model import FLICKS, Kind, SourceError, Track
from services.restreamer.sources.containers.file_media import FileMedia
from services.restreamer.sources.containers.timing import complete
from services.restreamer.sources.containers.watch import Watch
from services.restreamer.sources.flv.demux import MOST_TRACKS, FlvDemuxer, flv_or
from services.restreamer.sources.flv.run import Run, read_begin
from services.restreamer.sources.flv.watch import FlvFinder
from services.restreamer.sources.frames import Demux, Demuxing, Raw
from services.restreamer.sources.origins.files import LocalFile

MIB: Final = 1 << 20
MOST: Final = 48 * MIB


def tag(kind: int, ms: int, body: bytes) -> bytes:
    head = bytes((kind,)) + len(body).to_bytes(3, "big") + ms.to_bytes(3, "big") + bytes(4)
    return head + body + (len(body) + 11).to_bytes(4, "big")


def picture(ms: int, size: int, *, key: bool = False) -> bytes:
    head = b"\x17\1" if key else b"\x27\1"
    nal = (b"\x65" if key else b"\x41") + bytes(size)
    return tag(9, ms, head + bytes(3) + len(nal).to_bytes(4, "big") + nal)


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """Large pictures, and no sound though it is announced."""
    path = tmp_path / "film.flv"
    pictures = (picture(40 * n, MIB, key=not n) for n in range(60))
    head = b"FLV\1\5\0\0\0\x09" + bytes(4) + tag(9, 0, b"\x17\0\0\0\0\1d\0\x0a\xff") + tag(8, 0, b"\xaf\0\x11\x90")
    path.write_bytes(head + b"".join(pictures))
    return path


def peak(taken: Iterator[object]) -> int:
    """Give how much is held until the first one comes."""
    tracemalloc.start()
    try:
        next(taken)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_pictures_behind_a_keyframe_that_sound_does_not_follow(film: Path) -> None:
    file = LocalFile(os.open(film, os.O_RDONLY))
    begin = read_begin(file)
    assert begin is not None
    assert peak(Run(file, begin, (0, 0)).frames()) < MOST // 2
    file.close()


def giving(frames: Iterator[Raw]) -> Demux:
    told = {"container": "flv", "end": None, "created_ms": None, "shown_from": None, "video_end": None, "broken": None}
    given = SimpleNamespace(
        **told, has_video=True, has_audio=True, frames=lambda: frames, cover=lambda: None, close=lambda: None
    )
    return lambda *_: cast("Demuxing", given)


def large(kind: Kind) -> Iterator[Raw]:
    for n in range(60):
        yield Raw(kind, n * FLICKS, n * FLICKS, FLICKS, kind == "audio", bytes(4 * MIB), None)


def test_pictures_that_come_before_the_first_sound(film: Path) -> None:
    file = LocalFile(os.open(film, os.O_RDONLY))
    demux = flv_or(giving(large("video")))
    demuxer = demux(Watch(file, FlvFinder(file.head())), "flv")
    assert isinstance(demuxer, FlvDemuxer)
    assert peak(iter(demuxer.frames())) < MOST
    file.close()


def test_sound_that_comes_before_the_first_picture(film: Path) -> None:
    def opened() -> Iterator[None]:
        with pytest.raises(SourceError, match="no picture"):
            FileMedia(file, "flv", demux=giving(large("audio")))
        yield

    file = LocalFile(os.open(film, os.O_RDONLY))
    assert peak(opened()) < 2 * MOST  # held for the other kind, and for what follows
    file.close()


def test_pictures_without_decode_times() -> None:
    frames = (Raw("video", None, n * FLICKS, FLICKS, n == 0, bytes(MIB), None) for n in count())
    assert peak(complete(frames)) < MOST


def test_descriptions_of_tracks(film: Path) -> None:
    def changing() -> Iterator[Raw]:
        for n in range(1000):
            track = Track("video", "h264", n.to_bytes(4, "big"))
            yield Raw("video", n * FLICKS, n * FLICKS, FLICKS, True, b"x", track)

    file = LocalFile(os.open(film, os.O_RDONLY))
    demuxer = flv_or(giving(changing()))(Watch(file, FlvFinder(file.head())), "flv")
    assert isinstance(demuxer, FlvDemuxer)
    assert sum(1 for _ in demuxer.frames()) == 1000
    assert len(demuxer._tracks) <= MOST_TRACKS
    file.close()
