"""MP4 files, whose usual frames are read without FFmpeg: whatever the file, frames are those that FFmpeg gives."""

from __future__ import annotations

import os
from collections import OrderedDict
from threading import Event
from typing import Final

import pytest

from services.restreamer.sources.apart.child import Child
from services.restreamer.sources.apart.confined import Bounds
from services.restreamer.sources.apart.demuxing import apart
from services.restreamer.sources.apart.kept import Keep
from services.restreamer.sources.containers import known_files
from services.restreamer.sources.containers.demux import Demuxer
from services.restreamer.sources.containers.file_media import FileMedia
from services.restreamer.sources.containers.sniff import Container
from services.restreamer.sources.frames import Demuxing
from services.restreamer.sources.mp4 import run as mp4_run
from services.restreamer.sources.mp4.demux import mp4_or
from services.restreamer.sources.mp4.run import Mp4Run
from services.restreamer.sources.origins.files import LocalFile, Readable
from tests.support.mp4_films import COPIES, FILES, ODD, Film, entries, film_maker, ours, seen


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


@pytest.mark.parametrize("name", [*FILES, *COPIES])
def test_a_seek_leads_where_that_of_ffmpeg_leads(film: Film, name: str) -> None:
    path = film(name)
    assert entries(path, ours) == entries(path, Demuxer)


@pytest.mark.parametrize("name", ODD)
def test_what_is_odd_is_left_to_ffmpeg(film: Film, name: str, stops: list[bool]) -> None:
    path = film(name)
    assert seen(path, ours, (0, 1.5)) == seen(path, Demuxer, (0, 1.5))
    assert not stops


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
