"""RTMP chunk streams: parsing and writing messages (Adobe, "RTMP 1.0", 2012, section 5.3)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from shared.rtmp.errors import LimitExceeded, ProtocolError

SET_CHUNK_SIZE, ABORT, ACKNOWLEDGEMENT, USER_CONTROL, WINDOW_ACK_SIZE, SET_PEER_BANDWIDTH = 1, 2, 3, 4, 5, 6
AUDIO, VIDEO, DATA_AMF3, COMMAND_AMF3, DATA_AMF0, COMMAND_AMF0, AGGREGATE = 8, 9, 15, 17, 18, 20, 22

EXTENDED = 0xFFFFFF
_HEADER_SIZES = (11, 7, 3, 0)
_LARGEST_HEADER = 3 + 11 + 4

Payload = bytearray | memoryview


class Message(NamedTuple):
    """One RTMP message; a memoryview payload is valid until the next bytes are received.

    `timestamp` is in ms, modulo 2**32.
    """

    kind: int
    timestamp: int
    stream_id: int
    payload: Payload


@dataclass(slots=True)
class _ChunkStream:
    """A chunk stream's last header, whose fields later chunks may omit, and its unfinished message."""

    timestamp: int = 0
    delta: int = 0
    length: int = 0
    kind: int = 0
    stream_id: int = 0
    extended: int | None = None
    body: bytearray = field(default_factory=bytearray)


@dataclass(slots=True)
class ChunkLimits:
    """Limits on what a peer makes the parser store (bytes, counts)."""

    message: int
    unfinished: int
    streams: int


class ChunkParser:
    """Parses received bytes into messages, without copying those that arrive complete in one chunk.

    Receive into `room()`, then call `parse` with the received count. Set Chunk Size and Abort take effect here and
    are returned too.
    """

    def __init__(self, limits: ChunkLimits, *, buffer: int = 4096) -> None:
        self.limits = limits
        self._chunk_size = 128
        self._streams: dict[int, _ChunkStream] = {}
        self._current: _ChunkStream | None = None  # the stream of the chunk being read
        self._need = 0  # the bytes missing of that chunk
        self._unfinished = 0
        # The receive area follows room for a header: the start of a split header is moved there, where it overwrites no
        # returned payload.
        self._rest = 0
        self._buffer = bytearray(_LARGEST_HEADER + buffer)
        self._view = memoryview(self._buffer)

    def resize(self, buffer: int) -> None:
        """Enlarge the receive area to `buffer` bytes."""
        rest = self._buffer[:_LARGEST_HEADER]
        self._buffer = bytearray(_LARGEST_HEADER + buffer)
        self._buffer[:_LARGEST_HEADER] = rest
        self._view = memoryview(self._buffer)

    def room(self) -> memoryview:
        """Return the view to receive into."""
        return self._view[_LARGEST_HEADER:]

    def parse(self, count: int) -> list[Message]:
        """Parse the `count` bytes just received into `room()`; return the messages that end in them.

        Raises ProtocolError or LimitExceeded, after which the connection cannot continue.
        """
        messages: list[Message] = []
        pos, end = _LARGEST_HEADER - self._rest, _LARGEST_HEADER + count
        self._rest = 0
        while pos < end:
            if self._current is None:
                begin = self._header(pos, end)
                if begin < 0:
                    self._rest = end - pos
                    self._buffer[_LARGEST_HEADER - self._rest : _LARGEST_HEADER] = self._buffer[pos:end]
                    break
                pos = begin
            pos = self._body(pos, end, messages)
        return messages

    def _header(self, pos: int, end: int) -> int:
        """Read a chunk's header; return the offset of its payload, or -1 when the header is incomplete."""
        buffer = self._buffer
        form, stream_number = buffer[pos] >> 6, buffer[pos] & 0x3F
        pos += 1
        if stream_number < 2:
            extra = stream_number + 1
            if pos + extra > end:
                return -1
            stream_number = 64 + int.from_bytes(buffer[pos : pos + extra], "little")
            pos += extra
        stream = self._streams.get(stream_number)
        if form == 3:
            if stream is None:
                raise ProtocolError("chunk stream begins without a message header")
            return self._next(stream, pos, end)
        after = pos + _HEADER_SIZES[form]
        if after > end:
            return -1
        stamp = int.from_bytes(buffer[pos : pos + 3], "big")
        extended = stamp == EXTENDED
        if extended:
            after += 4
            if after > end:
                return -1
            stamp = int.from_bytes(buffer[after - 4 : after], "big")
        if stream is None:
            stream = self._open(stream_number, form)
        self._describe(stream, form, pos, stamp, extended=extended)
        return after

    def _open(self, stream_number: int, form: int) -> _ChunkStream:
        # Old librtmp starts its control stream with format 1; only a header with a length can start one.
        if form == 2:
            raise ProtocolError("chunk stream begins without a message length")
        if len(self._streams) >= self.limits.streams:
            raise LimitExceeded("too many chunk streams")
        stream = self._streams[stream_number] = _ChunkStream()
        return stream

    def _describe(self, stream: _ChunkStream, form: int, pos: int, stamp: int, *, extended: bool) -> None:
        """Record a message header of format 0, 1 or 2."""
        if stream.body:
            raise ProtocolError("message begins inside another one")
        buffer = self._buffer
        stream.extended = stamp if extended else None
        stream.delta = stamp
        stream.timestamp = stamp if form == 0 else stream.timestamp + stamp & 0xFFFFFFFF
        if form < 2:
            stream.length = int.from_bytes(buffer[pos + 3 : pos + 6], "big")
            stream.kind = buffer[pos + 6]
        if form == 0:
            stream.stream_id = int.from_bytes(buffer[pos + 7 : pos + 11], "little")
        self._begin_chunk(stream)

    def _next(self, stream: _ChunkStream, pos: int, end: int) -> int:
        """Read a format 3 header: the message continues, or a new one starts with the last one's fields."""
        if stream.extended is not None:
            # The specification repeats the extended timestamp here; some encoders do not.
            if pos + 4 > end:
                return -1
            if int.from_bytes(self._buffer[pos : pos + 4], "big") == stream.extended:
                pos += 4
        if not stream.body:
            # After format 0 the delta is its timestamp (5.3.1.2.4), as FFmpeg writes it.
            stream.timestamp = stream.timestamp + stream.delta & 0xFFFFFFFF
        self._begin_chunk(stream)
        return pos

    def _begin_chunk(self, stream: _ChunkStream) -> None:
        if stream.length > self.limits.message:
            raise LimitExceeded("message is too large")
        self._current = stream
        self._need = min(self._chunk_size, stream.length - len(stream.body))

    def _body(self, pos: int, end: int, messages: list[Message]) -> int:
        """Read the available part of the current chunk's payload; return the offset after it."""
        stream = self._current
        if stream is None:
            return pos
        stop = min(pos + self._need, end)
        part = self._view[pos:stop]
        self._need -= stop - pos
        if not stream.body and len(part) == stream.length:
            self._finish(stream, part, messages)
            return stop
        stream.body += part
        self._unfinished += len(part)
        if self._unfinished > self.limits.unfinished:
            raise LimitExceeded("too much in unfinished messages")
        if len(stream.body) == stream.length:
            body, stream.body = stream.body, bytearray()
            self._unfinished -= len(body)
            self._finish(stream, body, messages)
        elif not self._need:
            self._current = None
        return stop

    def _finish(self, stream: _ChunkStream, payload: Payload, messages: list[Message]) -> None:
        self._current = None
        message = Message(stream.kind, stream.timestamp, stream.stream_id, payload)
        if stream.kind == SET_CHUNK_SIZE:
            self._chunk_size = _word(message)
            if not 1 <= self._chunk_size <= 0x7FFFFFFF:
                raise ProtocolError("chunk size out of range")
        elif stream.kind == ABORT:
            aborted = self._streams.get(_word(message))
            if aborted is not None:
                self._unfinished -= len(aborted.body)
                aborted.body = bytearray()
        messages.append(message)


def _word(message: Message) -> int:
    if len(message.payload) < 4:
        raise ProtocolError("control message is cut short")
    return int.from_bytes(message.payload[:4], "big")


def write_message(chunk_stream: int, kind: int, stream_id: int, payload: bytes, *, chunk_size: int) -> bytes:
    """Write a message with timestamp 0 as chunks; `chunk_stream` is 2 to 63."""
    head = bytes((chunk_stream,)) + bytes(3) + len(payload).to_bytes(3, "big") + bytes((kind,))
    head += stream_id.to_bytes(4, "little")
    joint = bytes((0xC0 | chunk_stream,))
    return head + joint.join(payload[at : at + chunk_size] for at in range(0, len(payload), chunk_size))
