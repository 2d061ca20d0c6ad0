"""A connection to an RTMP server that misbehaves once it has let us publish."""

from __future__ import annotations

import ipaddress
import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from services.restreamer.model import Track
from services.restreamer.targets.addresses import RtmpAddress, read_address
from services.restreamer.targets.rtmp.line import RtmpLine, new_parser
from services.restreamer.targets.terms import TargetError, Tracks
from shared.rtmp.amf import encode
from shared.rtmp.chunks import COMMAND_AMF0, USER_CONTROL, WINDOW_ACK_SIZE, write_message

SECOND = 1_000_000_000
HEVC = Track("video", "hevc", b"\1config", 320, 180)
PING = write_message(2, USER_CONTROL, 0, b"\0\6\0\0\0\1", chunk_size=128)
WINDOW = write_message(2, WINDOW_ACK_SIZE, 0, b"\0\0\0\1", chunk_size=128)
Dial = Callable[..., tuple[RtmpLine, socket.socket]]


def status(**info: str) -> bytes:
    return write_message(3, COMMAND_AMF0, 0, encode("onStatus", 0.0, None, dict(info)), chunk_size=128)


def place() -> RtmpAddress:
    found = read_address("rtmp://127.0.0.1/live/key", allowed=(ipaddress.ip_network("127.0.0.0/8"),), srt_ports=())
    assert isinstance(found, RtmpAddress)
    return found


@pytest.fixture
def dial() -> Iterator[Dial]:
    """Give a line and the server's end of its connection."""
    opened: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def connect(known: frozenset[str] = frozenset()) -> tuple[RtmpLine, socket.socket]:
            ours = socket.create_connection(server.getsockname())
            theirs, _ = server.accept()
            opened.extend((ours, theirs))
            return RtmpLine(ours, new_parser(), 1, place(), known), theirs

        yield connect
        for sock in opened:
            sock.close()


def test_a_server_that_never_stops_talking_holds_up_nobody(dial: Dial) -> None:
    line, server = dial()
    over = threading.Event()

    def talk() -> None:
        with suppress(OSError):
            while not over.is_set():
                server.sendall(PING * 4000)

    speaker = threading.Thread(target=talk)
    speaker.start()
    try:
        for tick in range(20):
            line.listen(tick * SECOND)  # would never come back if it read on while there is something
            assert line.queue.bytes < (tick + 1) << 16
    finally:
        over.set()
        line.close()
        server.close()
        speaker.join()


def work(line: RtmpLine) -> None:
    for tick in range(50):
        line.listen(tick * SECOND)
        line.flush(tick * SECOND)


def test_whatever_a_server_says_is_its_own_end_and_nobody_else_s(dial: Dial) -> None:
    chance = random.Random(7)
    words = [status(level="status", code="x"), PING, WINDOW, status(level="error", code="y")]
    for _ in range(300):
        line, server = dial()
        said = bytearray(b"".join(chance.choices(words, k=4)))
        for _ in range(chance.randrange(6)):
            said[chance.randrange(len(said))] = chance.randrange(256)
        server.sendall(said)
        server.close()
        with pytest.raises(TargetError):
            work(line)
        line.close()


def test_a_server_is_told_how_much_was_received_even_when_it_talks_on(dial: Dial) -> None:
    line, server = dial()
    server.sendall(WINDOW + PING * 2000)
    line.listen(0)
    line.flush(0)
    server.settimeout(10)
    said = b""
    while b"\x02\0\0\0\0\0\4\3" not in said:  # an acknowledgement, four bytes long
        said += server.recv(4096)


def test_a_codec_is_refused_when_the_server_names_others_and_doubted_when_it_names_none(dial: Dial) -> None:
    line, _ = dial(frozenset({"av01"}))
    with pytest.raises(TargetError, match="does not take hevc") as refused:
        line.accept(Tracks(HEVC))
    assert refused.value.final
    dial(frozenset({"hvc1"}))[0].accept(Tracks(HEVC))
    for words in (b"", status(level="error", code="NetStream.Publish.BadFormat")):
        line, server = dial()
        line.accept(Tracks(HEVC))
        server.sendall(words)
        server.close()
        with pytest.raises(TargetError, match="not said that it takes hevc"):
            line.listen(0)
