"""A small RTMP publisher whose every byte a test can choose."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from datetime import timedelta
from typing import Self

from shared.rtmp.amf import EcmaArray, decode, encode
from shared.rtmp.chunks import (
    ABORT,
    AUDIO,
    COMMAND_AMF0,
    DATA_AMF0,
    SET_CHUNK_SIZE,
    VIDEO,
    ChunkLimits,
    ChunkParser,
    Message,
)

AVC_HEADER = b"\x17\x00\x00\x00\x00" + bytes.fromhex(
    "0164000affe100196764000aacd9430b2d808800000300080000030190789225700100056ebe27ec7020"
)
WAIT = timedelta(seconds=20)
AAC_HEADER = bytes.fromhex("af001190")
METADATA = encode("@setDataFrame", "onMetaData", EcmaArray(width=160.0, height=90.0, videocodecid=7.0))


def chunked(
    kind: int, timestamp: int, payload: bytes, *, stream: int = 4, message_stream: int = 1, size: int = 128
) -> bytes:
    """Write a message with format 0 and the rest of it with format 3, as encoders do."""
    stamp = min(timestamp, 0xFFFFFF).to_bytes(3, "big")
    extended = timestamp.to_bytes(4, "big") if timestamp >= 0xFFFFFF else b""
    out = bytes((stream,)) + stamp + len(payload).to_bytes(3, "big") + bytes((kind,))
    out += message_stream.to_bytes(4, "little") + extended + payload[:size]
    for at in range(size, len(payload), size):
        out += bytes((0xC0 | stream,)) + extended + payload[at : at + size]
    return out


def video_frame(number: int, size: int = 300, *, key: bool = False) -> bytes:
    """Make an AVC frame of one NAL unit whose bytes tell its number."""
    nal = bytes((0x65 if key else 0x41,)) + number.to_bytes(4, "big") * (size // 4)
    return bytes((0x17 if key else 0x27, 1, 0, 0, 0)) + len(nal).to_bytes(4, "big") + nal


def audio_frame(number: int, size: int = 80) -> bytes:
    """Return an AAC frame whose bytes contain its number."""
    return b"\xaf\x01" + number.to_bytes(4, "big") * (size // 4)


class RtmpClient:
    """A connection to an RTMP server, in the test's thread."""

    def __init__(self, port: int, *, timeout: timedelta = WAIT, wrap: object = None) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout.total_seconds())
        if wrap is not None:
            self.socket = wrap.wrap_socket(self.socket, server_hostname="localhost")  # type: ignore[attr-defined]
        self._parser = ChunkParser(ChunkLimits(1 << 20, 1 << 20, 64))
        self._messages: list[Message] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def shake_hands(self) -> None:
        """Do the plain handshake."""
        c1 = bytes(8) + bytes(range(256)) * 5 + bytes(248)
        self.send(b"\x03" + c1)
        answer = self._exactly(1 + 2 * 1536)
        assert answer[0] == 3
        assert answer[1 + 1536 :] == c1
        self.send(answer[1 : 1 + 1536])

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            assert part, "the server closed"
            data += part
        return data

    def command(self, *values: object, message_stream: int = 0) -> None:
        """Send a command."""
        self.send(chunked(COMMAND_AMF0, 0, encode(*values), stream=3, message_stream=message_stream))

    def message(self) -> Message | None:
        """Wait for a message of the server; None when it closes."""
        while not self._messages:
            try:
                count = self.socket.recv_into(self._parser.room())
            except ConnectionError:
                return None
            if not count:
                return None
            found = self._parser.parse(count)
            self._messages += [message._replace(payload=bytearray(message.payload)) for message in found]
        return self._messages.pop(0)

    def answer(self, name: str) -> list[object]:
        """Wait for a command of that name; return all its values."""
        while (message := self.message()) is not None:
            if message.kind == COMMAND_AMF0:
                values = decode(bytes(message.payload))
                if values[0] == name:
                    return list(values)
        raise AssertionError(f"closed without {name}")

    def wait_for(self, kind: int) -> bytes:
        """Wait for a message of that kind; return its payload."""
        while (message := self.message()) is not None:
            if message.kind == kind:
                return bytes(message.payload)
        raise AssertionError(f"closed without a message of kind {kind}")

    def is_closed(self) -> bool:
        """Wait until the server closes; TimeoutError when it does not."""
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionError:
            pass
        return True

    def connect(self, app: str = "live", tc_url: str = "rtmp://localhost/live") -> list[object]:
        """Shake hands and connect."""
        self.shake_hands()
        self.command("connect", 1.0, {"app": app, "tcUrl": tc_url, "flashVer": "test"})
        return self.answer("_result")

    def ask(self, key: str = "key", app: str = "live", tc_url: str = "rtmp://localhost/live") -> dict[str, object]:
        """Connect and ask to publish; return the answer's information object."""
        self.connect(app, tc_url)
        self.command("releaseStream", 2.0, None, key)
        self.command("FCPublish", 3.0, None, key)
        self.command("createStream", 4.0, None)
        while self.answer("_result")[1] != 4.0:
            pass
        self.command("publish", 5.0, None, key, "live", message_stream=1)
        info = self.answer("onStatus")[3]
        assert isinstance(info, dict)
        return info

    def publish(self, key: str = "key") -> Self:
        """Connect and publish; AssertionError when it is refused."""
        assert self.ask(key)["code"] == "NetStream.Publish.Start"
        return self

    def headers(self) -> None:
        """Send metadata that announces video alone, and the AVC sequence header."""
        self.send(chunked(DATA_AMF0, 0, METADATA) + chunked(VIDEO, 0, AVC_HEADER))

    def frames(self, numbers: Iterable[int], *, step: int = 40) -> None:
        """Send video frames, `step` ms apart."""
        for number in numbers:
            self.send(chunked(VIDEO, number * step, video_frame(number, key=number == 0)))


def set_chunk_size(size: int) -> bytes:
    """Write the message that changes the sender's chunk size."""
    return chunked(SET_CHUNK_SIZE, 0, size.to_bytes(4, "big"), stream=2, message_stream=0)


def abort(stream: int) -> bytes:
    """Write the message that aborts an unfinished message."""
    return chunked(ABORT, 0, stream.to_bytes(4, "big"), stream=2, message_stream=0)


def read_flv(data: bytes) -> list[tuple[int, int, bytes]]:
    """Split FLV into (kind, timestamp, body); AssertionError when it is not exact."""
    assert data[:3] == b"FLV"
    assert data[9:13] == bytes(4)
    found, at = [], 13
    while at < len(data):
        size = int.from_bytes(data[at + 1 : at + 4], "big")
        timestamp = int.from_bytes(data[at + 4 : at + 7], "big") | data[at + 7] << 24
        body = data[at + 11 : at + 11 + size]
        assert len(body) == size
        assert int.from_bytes(data[at + 11 + size : at + 15 + size], "big") == size + 11
        found.append((data[at], timestamp, body))
        at += size + 15
    return found


def number_of(payload: bytes, kind: str = "video") -> int:
    """Read the number of a frame."""
    head = 5 if kind == "video" else 0
    return int.from_bytes(payload[head : head + 4], "big")


__all__ = ["AUDIO", "VIDEO", "RtmpClient", "chunked", "number_of", "read_flv"]
