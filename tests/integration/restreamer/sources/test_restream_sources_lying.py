"""Children that lie, or are broken into: what their parent does is bounded, and ends with `stop`."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from itertools import count
from threading import Event, Thread
from types import SimpleNamespace
from typing import Final, cast

import pytest

from services.restreamer.model import SourceError
from services.restreamer.sources.access import Stopped
from services.restreamer.sources.apart import wire
from services.restreamer.sources.apart.child import Child
from services.restreamer.sources.apart.children import Family
from services.restreamer.sources.apart.confined import Bounds
from services.restreamer.sources.apart.demuxing import Apart
from services.restreamer.sources.apart.wire import HEAD, Batch, Order, Said, Told
from services.restreamer.sources.apart.zygote import FATE
from services.restreamer.sources.frames import Raw
from services.restreamer.sources.origins.files import Readable

MOST: Final = 1000


@pytest.fixture
def puppet() -> Iterator[tuple[Child, socket.socket, socket.socket, Event]]:
    """A child that says what the test has it say."""
    (line, its), (fate, zygote) = socket.socketpair(), socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    stop = Event()
    child = Child(line, fate, Bounds(), stop)
    with its, zygote:
        yield child, its, zygote, stop
    child.close()


Puppet = tuple[Child, socket.socket, socket.socket, Event]


def test_a_child_that_talks_nonsense_is_not_heard_any_more(puppet: Puppet) -> None:
    child, its, _, _ = puppet
    its.sendall(b"\xff" * HEAD.size)
    with pytest.raises(SourceError, match="nonsense"):
        child.answer()
    assert its.recv(1) == b""


def test_a_wait_for_a_child_ends_with_stop(puppet: Puppet) -> None:
    child, its, _, stop = puppet
    its.sendall(b"\x01")
    stop.set()
    with pytest.raises(Stopped):
        child.answer()


def lying(its: socket.socket, said: Said, frames: int) -> Callable[[], int]:
    """Give the same answer to each order, a thousand times; return what tells how often that was."""
    heard: list[bytes] = []

    def answer() -> None:
        batch = Batch()
        for _ in range(frames):
            batch.add(Raw("video", 0, 0, 0, True, b"x", None))
        message = b"".join(wire.pack(said, Told(has_video=True), batch, number=1))
        with contextlib.suppress(OSError):
            while len(heard) < MOST and (order := its.recv(1 << 16)):
                heard.append(order)
                its.sendall(message)

    def count() -> int:
        thread.join()
        return len(heard)

    thread = Thread(target=answer)
    thread.start()
    return count


@pytest.mark.parametrize(("said", "frames"), [(Said.GIVEN, 1), (Said.GIVEN, 0), (Said.READ, 1)])
def test_a_child_that_goes_on_though_it_is_told_to_halt_is_ended(puppet: Puppet, said: Said, frames: int) -> None:
    child, its, _, _ = puppet
    answered = lying(its, said, frames)
    child.order(Order.FRAMES)
    child.answer()
    assert not child.released()
    child.close()
    assert answered() < 10


def test_a_child_that_asks_for_ever_does_not_outlast_stop(puppet: Puppet) -> None:
    child, its, _, stop = puppet
    answered = lying(its, Said.READ, 1)
    family = SimpleNamespace(child=lambda *_: child, give=lambda _: None)
    reads = count()

    def read(size: int) -> bytes:
        if next(reads) == 50:
            stop.set()
        return bytes(size)

    with pytest.raises(Stopped):
        Apart(cast("Readable", SimpleNamespace(read=read)), "mp4", stop=stop, family=cast("Family", family))
    assert answered() < 60


def test_a_child_that_speaks_byte_by_byte_does_not_outlast_stop(puppet: Puppet) -> None:
    child, its, _, stop = puppet
    message = b"".join(wire.pack(Said.DONE, Told(), Batch(), data=bytes(1 << 15)))

    def drip() -> None:
        with contextlib.suppress(OSError):
            for at in range(len(message)):
                its.sendall(message[at : at + 1])
                if at == 50:
                    stop.set()

    thread = Thread(target=drip)
    thread.start()
    with pytest.raises(Stopped):
        child.answer()
    child.close()
    thread.join()


@pytest.mark.parametrize(
    ("status", "words"),
    [(signal.SIGKILL, "was killed"), (signal.SIGSEGV, "crash"), (signal.SIGXCPU, "computing"), (75 << 8, "memory")],
)
def test_how_a_child_ended_is_told_in_words(puppet: Puppet, status: int, words: str) -> None:
    child, its, zygote, _ = puppet
    zygote.send(FATE.pack(status))
    its.close()
    with pytest.raises(SourceError, match=words):
        child.answer()


def test_a_child_that_is_not_there_takes_no_order() -> None:
    child = Child(*closed(), Bounds(), Event())
    with pytest.raises(SourceError, match="could not be started"):
        child.order(Order.FRAMES)


def closed() -> tuple[socket.socket, socket.socket]:
    """Give a line and a fate of which nobody holds the other end."""
    (line, its), (fate, zygote) = socket.socketpair(), socket.socketpair()
    its.close()
    zygote.close()
    return line, fate
