"""Files that mean harm to what decodes them: each breaks its own decoder, is told in words, and the list goes on."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from services.restreamer.model import Media, Packet
from services.restreamer.playout import Ended
from services.restreamer.playout.children import workshop
from services.restreamer.sources import PictureCache, Sources
from services.restreamer.sources.apart import child as talking
from services.restreamer.sources.apart.children import children
from services.restreamer.sources.apart.confined import Bounds
from services.restreamer.sources.containers.file_media import FileMedia
from shared.messages.restreams import Encoding, Item, Source
from tests.support import hostile
from tests.support.bombs import pids
from tests.support.playout_files import Clip, make
from tests.support.playout_stage import Shelf, Stage, item, opened, spec
from tests.support.source_server import source_server
from tests.support.sources import access_to, source
from tests.support.waiting import wait_until

KIB = 1 << 10


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six seconds of numbered pictures."""
    return make(Clip(180, gop=30), tmp_path_factory.mktemp("film") / "film")


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half a second, numbered from 500 on."""
    return make(Clip(15, 500, gop=30), tmp_path_factory.mktemp("short") / "short")


@pytest.fixture(autouse=True)
def nobody_left() -> Iterator[None]:
    """No child is there before a test, nor after it."""
    children().start(Bounds())
    wait_until(lambda: not pids(children()))
    yield
    children().start(Bounds())
    wait_until(lambda: not pids(children()))


class Striking(Shelf):
    """A shelf whose first file, in its midst, has all that decodes it struck by a signal."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def open(self, source: Source, stop: Event) -> Media:
        media = FileMedia(*opened(source.location))
        self.opened.append(source.location)
        if len(self.opened) == 1:
            media.packets = self.struck(media.packets)  # type: ignore[method-assign]  # the child is struck in between
        return media

    def struck(self, packets: Callable[[int], Iterator[Packet]]) -> Callable[[int], Iterator[Packet]]:
        def giving(start: int) -> Iterator[Packet]:
            for number, packet in enumerate(packets(start)):
                if number == 160:
                    assert len(pids(children())) == 2  # one for pictures, one for sound
                    for pid in pids(children()):
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(pid, self.number)
                yield packet

        return giving


def play(stage: Stage, *items: Item, encoding: Encoding) -> None:
    try:
        stage.play(spec(*items, encoding=encoding))
    finally:
        stage.stop()


def check_goes_on(stage: Stage, words: str) -> None:
    assert stage.numbers()[-15:] == list(range(500, 515))
    assert words in " ".join(stage.warnings())
    last = stage.reports[-1]
    assert isinstance(last, Ended)
    assert not last.failed
    stage.check()


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGKILL, "its decoder was killed"),
        (signal.SIGSEGV, "the file makes its decoder crash"),
        (signal.SIGXCPU, "decoding it takes more computing than its length lets it"),
        (signal.SIGSTOP, "decoding it takes too long"),
    ],
)
def test_a_decoder_that_is_struck_in_its_midst_ends_its_file_alone(
    film: Path, short: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    if number == signal.SIGSTOP:  # it alone is waited for; a busy machine may stop the others for seconds
        monkeypatch.setattr(talking, "SILENT", timedelta(seconds=6))
    stage = Stage(shelf=Striking(number))
    play(stage, item(film), item(short), encoding=Encoding())
    numbers = stage.numbers()
    assert numbers[:40] == list(range(40))
    assert len(numbers) < 180
    check_goes_on(stage, words)


class Hook:
    """A commission that a child falls over: unpickled, it is a call."""

    def __init__(self, call: Callable[..., Any], *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call, self.arguments


@pytest.mark.parametrize(
    ("hook", "words"),
    [
        (Hook(ctypes.string_at, 0), "the file makes its decoder crash"),
        (Hook(max, itertools.count()), "decoding it takes more computing than its length lets it"),
        (Hook(bytearray, 1 << 40), "decoding it takes more memory than a file may"),
        (Hook(os._exit, 3), "the file makes its decoder fail"),
        (Hook(os.system, "touch /tmp/never"), "the file makes its decoder fail"),
        (Hook(os.fork), "the file makes its decoder fail"),
        (Hook(os.open, "/etc/passwd", os.O_RDONLY), "the file makes its decoder fail"),
        (Hook(os.kill, os.getpid(), signal.SIGTERM), "the file makes its decoder fail"),
    ],
    ids=["crash", "spin", "memory", "exit", "command", "fork", "file", "kill"],
)
def test_what_takes_a_decoder_over_gets_nowhere(
    film: Path, short: Path, monkeypatch: pytest.MonkeyPatch, hook: Hook, words: str
) -> None:
    children().start(Bounds(cpu=timedelta(seconds=1)))
    honest, turns = workshop.Recoding, itertools.count()

    def made(*arguments: Any) -> object:
        return hook if next(turns) == 0 else honest(*arguments)

    monkeypatch.setattr(workshop, "Recoding", made)
    stage = Stage()
    play(stage, item(film), item(short), encoding=Encoding())
    assert stage.numbers() == list(range(500, 515))
    check_goes_on(stage, words)


HOSTILE: dict[str, tuple[str, Callable[[], bytes]]] = {
    "pictures that grow to 16000 a side": ("mkv", hostile.growing_pictures),
    "a hundred thousand tracks": ("mp4", hostile.a_hundred_thousand_tracks),
    "boxes in boxes in boxes": ("mp4", hostile.boxes_in_boxes),
    "new parameters with each picture": ("ts", hostile.new_parameters_each_picture),
    "VP9 of another size each picture": ("mkv", hostile.other_size_each_picture),
    "an index of two thousand million samples": ("mp4", hostile.an_index_of_two_thousand_million),
}
CHANGED: dict[str, tuple[Clip, Callable[[bytes], bytes]]] = {
    "AAC of 48 channels": (Clip(30), hostile.many_channels),
    "Opus of 255 channels": (Clip(30, audio="libopus", suffix=".mkv"), hostile.many_opus_channels),
    "sound of no length": (Clip(30, suffix=".flv"), hostile.sound_of_no_length),
    "bytes that fell": (Clip(90), hostile.bits_that_fell),
    "HEVC of which bytes fell": (Clip(60, codec="hevc", suffix=".ts"), hostile.bits_that_fell),
}


@pytest.mark.parametrize("name", [*HOSTILE, *CHANGED])
def test_a_hostile_file_harms_nobody_but_itself(name: str, short: Path, tmp_path: Path) -> None:
    if name in HOSTILE:
        ending, make_file = HOSTILE[name]
        data = make_file()
    else:
        clip, change = CHANGED[name]
        ending, data = clip.suffix[1:], change(make(clip, tmp_path / "film").read_bytes())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with source_server() as server:
        stage = Stage(shelf=Sources(access_to(tmp_path), PictureCache()), speed=60)
        items = (by_url(server.put(f"/hostile.{ending}", data)), by_url(server.put("/short.mp4", short.read_bytes())))
        play(stage, *items, encoding=Encoding(width=320, height=180, rate_num=30))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    check_goes_on(stage, "")
    assert grown < 96 * KIB


def by_url(url: str) -> Item:
    return Item(source=source("url", url).model_copy(update={"shown": url.rsplit("/", 1)[-1]}))


def test_no_decoder_outlives_its_parent(film: Path) -> None:
    script = (
        "import sys; from threading import Event\n"
        "from services.restreamer.sources.apart.children import children\n"
        "from tests.support.playout_stage import Stage, item, spec\n"
        "from shared.messages.restreams import Encoding\n"
        "stage = Stage(speed=1)\n"
        "stage.player.start(spec(item(sys.argv[1]), encoding=Encoding()), ())\n"
        "stage.wait_for(1)\n"
        "zygote = children().zygote\n"
        "print(zygote, open(f'/proc/{zygote}/task/{zygote}/children').read(), flush=True)\n"
        "Event().wait()\n"
    )
    command = [sys.executable, "-c", script, str(film)]
    root = Path(__file__).parents[4]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as parent:
        assert parent.stdout is not None
        found = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(found) == 3
        assert all(map(runs, found))
        parent.kill()
    wait_until(lambda: not any(map(runs, found)))


def runs(pid: int) -> bool:
    try:
        return "Z (zombie)" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
