"""Children that are kept from file to file: as good as new ones, and gone as soon as anything is wrong with them."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from threading import Event, Thread

import pytest

from services.restreamer.model import FLICKS, SourceError
from services.restreamer.sources import PictureCache, Sources
from services.restreamer.sources.apart import kept, wire
from services.restreamer.sources.apart.child import MOST_LEFT, Child
from services.restreamer.sources.apart.children import Children
from services.restreamer.sources.apart.confined import Bounds
from services.restreamer.sources.apart.demuxing import Apart
from services.restreamer.sources.apart.kept import Keep
from services.restreamer.sources.apart.wire import ORDER, Batch, Order, Said, Told
from services.restreamer.sources.containers.demux import Demuxer
from services.restreamer.sources.containers.sniff import Container
from services.restreamer.sources.origins.files import LocalFile
from shared.messages.restreams import Encoding, Item
from tests.support.bombs import pids
from tests.support.framecode_record import Spec, encode
from tests.support.playout_files import Clip, make
from tests.support.playout_stage import Stage, item, spec
from tests.support.source_server import source_server
from tests.support.sources import access_to, encode_each, source
from tests.support.waiting import wait_until


class Counting(Children):
    """Children that are counted."""

    count = 0

    def child(self, stop: Event, bounds: Bounds | None = None) -> Child:
        self.count += 1
        return super().child(stop, bounds)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[Container, Path]:
    """Six seconds in each container."""
    return encode_each(tmp_path_factory.mktemp("films"))


@pytest.fixture
def family() -> Iterator[Counting]:
    made = Counting()
    made.start()
    yield made
    made.close()


@pytest.fixture
def keep(family: Counting) -> Iterator[Keep]:
    made = Keep(family=family)
    yield made
    made.close()
    wait_until(lambda: not pids(family))


def local(path: Path) -> LocalFile:
    return LocalFile(os.open(path, os.O_RDONLY))


def test_a_kept_child_reads_the_next_file_as_a_new_one_does(
    films: dict[Container, Path], family: Counting, keep: Keep
) -> None:
    for left_after in (None, 0, 1, 40, 150):  # frames, of which many may be on their way
        for container, path in films.items():
            ours, theirs = Demuxer(local(path), container), Apart(local(path), container, stop=Event(), family=keep)
            assert ours.seek(FLICKS) == theirs.seek(FLICKS)
            first, its = ours.frames(), theirs.frames()
            if left_after is None:
                assert list(first) == list(its)
            else:
                assert [next(first) for _ in range(left_after)] == [next(its) for _ in range(left_after)]
            ours.close()
            theirs.close()
    assert family.count == 1
    assert len(pids(family)) == 1


def test_what_is_wrong_with_a_child_ends_it(
    films: dict[Container, Path], family: Counting, keep: Keep, tmp_path: Path
) -> None:
    def read(path: Path) -> None:
        demuxer = Apart(local(path), "mp4", stop=Event(), family=keep)
        assert len(list(demuxer.frames())) > 100
        demuxer.close()

    read(films["mp4"])
    (pid,) = pids(family)
    os.kill(pid, signal.SIGKILL)  # while it waits
    wait_until(lambda: not pids(family))
    read(films["mp4"])
    assert family.count == 2
    (tmp_path / "none.mp4").write_bytes(bytes(1000))
    with pytest.raises(SourceError):
        read(tmp_path / "none.mp4")
    wait_until(lambda: not pids(family))  # it saw a file that was not right
    read(films["mp4"])
    assert family.count == 3


def test_a_child_reads_so_many_files_and_no_more(
    films: dict[Container, Path], family: Counting, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "MOST_FILES", 3)
    for _ in range(7):
        Apart(local(films["mp4"]), "mp4", stop=Event(), family=keep).close()
    assert family.count == 3


def test_a_child_that_is_given_back_late_ends(films: dict[Container, Path], family: Counting, keep: Keep) -> None:
    first, second = (Apart(local(films["mp4"]), "mp4", stop=Event(), family=keep) for _ in range(2))
    first.close()
    keep.close()
    second.close()
    wait_until(lambda: not pids(family))


@pytest.mark.parametrize(("left", "fit"), [(0, True), (MOST_LEFT, True), (MOST_LEFT + 1, False), (-1, False)])
def test_a_child_that_a_file_has_made_grow_is_not_kept(left: int, fit: bool) -> None:
    (line, its), (fate, zygote) = socket.socketpair(), socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    child = Child(line, fate, Bounds(), Event())

    def answer() -> None:
        assert ORDER.unpack(its.recv(ORDER.size))[0] == Order.CLOSE
        its.sendall(b"".join(wire.pack(Said.DONE, Told(), Batch(), number=left)))

    asked = Thread(target=answer)
    asked.start()
    assert child.released() is fit
    asked.join()
    with its, zygote:
        child.close()


def test_a_list_that_is_looped_starts_few_children(tmp_path: Path) -> None:
    hls = ("-f", "hls", "-hls_time", "1", "-hls_playlist_type", "vod")
    encode(Spec(seconds=Fraction(4), options=hls), tmp_path / "list.m3u8")
    text = (tmp_path / "list.m3u8").read_text().replace("#EXTINF", "#EXT-X-DISCONTINUITY\n#EXTINF")
    family = Counting()
    sources = Sources(access_to(tmp_path), PictureCache(), readers=Keep(family=family))
    with source_server() as server:
        for path in tmp_path.glob("*.ts"):
            server.put(f"/x/{path.name}", path.read_bytes())
        url = server.put("/x/list.m3u8", text.encode())
        stage = Stage(shelf=sources)
        stage.play(spec(Item(source=source("url", url)), loops=4))
    assert len(stage.pictures) == 4 * 120
    stage.check()
    assert family.count <= 4  # what plays, what follows it, and what is opened for the next loop
    wait_until(lambda: not pids(family))
    family.close()


def test_ranges_and_loops_that_are_encoded_start_few_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    family = Counting()
    monkeypatch.setattr(kept, "children", lambda: family)
    film = make(Clip(60, gop=30), tmp_path / "film")
    stage = Stage()
    stage.play(spec(item(film, (0, 0.5), (1, 1.5)), loops=4, encoding=Encoding()))
    assert stage.numbers() == [*range(15), *range(30, 45)] * 4
    assert family.count == 2  # one for pictures, one for sound
    wait_until(lambda: not pids(family))
    family.close()
