"""Playout of strangers' files that mean harm: told in words, skipped, and what follows plays."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

import pytest

from services.restreamer.model import Media, Packet
from services.restreamer.playout import Ended
from services.restreamer.sources import PictureCache, Sources
from services.restreamer.sources.apart.children import children
from shared.messages.restreams import Item, Source
from tests.support.bombs import bomb, pids
from tests.support.playout_files import Clip, make
from tests.support.playout_stage import Stage, spec
from tests.support.source_server import Server, source_server
from tests.support.sources import access_to, source
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Ten seconds of numbered pictures."""
    return make(Clip(300, gop=30), tmp_path_factory.mktemp("film") / "film.ts").read_bytes()


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Half a second, numbered from 500 on."""
    return make(Clip(15, 500, gop=30), tmp_path_factory.mktemp("short") / "short.mp4").read_bytes()


@pytest.fixture
def server() -> Iterator[Server]:
    with source_server() as made:
        yield made


class Killing(Sources):
    """Sources of which the first file's reader is killed in its midst."""

    done = False

    def telling(self, tell: Callable[[str], None]) -> Sources:
        del tell
        return self

    def open(self, source: Source, stop: Event) -> Media:
        media = super().open(source, stop)
        if not self.done:
            self.done = True
            reader, packets = pids(children())[0], media.packets

            def killed(start: int) -> Iterator[Packet]:
                for number, packet in enumerate(packets(start)):
                    if number == 100:
                        os.kill(reader, signal.SIGKILL)
                    yield packet

            media.packets = killed  # type: ignore[method-assign]  # the reader is killed in between
        return media


def by_url(url: str) -> Item:
    return Item(source=source("url", url).model_copy(update={"shown": url.rsplit("/", 1)[-1]}))


def check_end(stage: Stage) -> None:
    last = stage.reports[-1]
    assert isinstance(last, Ended)
    assert not last.failed
    stage.check()
    wait_until(lambda: not pids(children()))


def test_the_list_goes_on_after_a_reader_was_killed(server: Server, film: bytes, short: bytes, tmp_path: Path) -> None:
    children().start()
    wait_until(lambda: not pids(children()))
    stage = Stage(shelf=Killing(access_to(tmp_path), PictureCache()), speed=8)
    stage.play(spec(by_url(server.put("/a.ts", film)), by_url(server.put("/b.mp4", short))))
    numbers = stage.numbers()
    assert numbers[-15:] == list(range(500, 515))
    assert numbers[:20] == list(range(20))
    assert len(numbers) < 300
    assert "its reader was killed" in " ".join(stage.warnings())
    check_end(stage)


def test_the_list_goes_on_after_files_that_no_memory_holds(server: Server, short: bytes, tmp_path: Path) -> None:
    bombs = [by_url(server.put(f"/{n}.mp4", bomb(12, 10_000_000))) for n in range(2)]
    stage = Stage(shelf=Sources(access_to(tmp_path), PictureCache()), speed=8)
    stage.play(spec(*bombs, by_url(server.put("/b.mp4", short))))
    assert stage.numbers() == list(range(500, 515))
    assert stage.warnings().count("the file has no picture that can be decoded") == 2
    check_end(stage)
