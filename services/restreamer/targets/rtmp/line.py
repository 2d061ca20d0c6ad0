"""A connection that publishes: it sends without waiting, and reads answers in between."""

from __future__ import annotations

import errno
import socket
import ssl
from contextlib import suppress
from itertools import islice

from services.restreamer.targets.addresses import RtmpAddress
from services.restreamer.targets.rtmp.pack import CHUNK_SIZE, USUAL_STREAM, patched
from services.restreamer.targets.rtmp.tags import CLASSIC, FOURCCS
from services.restreamer.targets.terms import Block, Queue, TargetError, Tracks, redact
from shared.rtmp import chunks
from shared.rtmp.amf import encode
from shared.rtmp.chunks import ChunkLimits, ChunkParser, Message, write_message
from shared.rtmp.commands import COMMANDS, read_command
from shared.rtmp.errors import RtmpError

_ANSWERS = ChunkLimits(message=64 * 1024, unfinished=64 * 1024, streams=64)
_CONTROL, _COMMANDS = 2, 3
_PING_REQUEST, _PING_RESPONSE = b"\x00\x06", b"\x00\x07"
_MOST_PARTS = 64
_TLS_RECORD = 16 * 1024
_LISTEN_EVERY_NS = 100_000_000
_MOST_READS = 4
"""The most reads in a row, so that no target holds up another."""
_UNACKNOWLEDGED_MS = 10_000
_LOST = frozenset({"NetStream.Unpublish.Success", "NetConnection.Connect.Closed", "NetConnection.Connect.Rejected"})
_WAIT = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


def new_parser() -> ChunkParser:
    """Make a parser for a server's answers."""
    return ChunkParser(_ANSWERS)


class RtmpLine:
    """Publishes to one server; used by the pacer alone."""

    def __init__(
        self, sock: socket.socket, parser: ChunkParser, stream_id: int, address: RtmpAddress, known: frozenset[str]
    ) -> None:
        self.queue = Queue()
        self.sent = 0
        self._sock = sock
        self._parser = parser
        self._stream_id = stream_id
        self._address = address
        self._known = known
        self._offset = 0  # how much of the queue's first block is sent
        self._received = self._acknowledged = self._window = 0
        self._listen_ns = 0
        self._leaving = self._shut = False
        self._doubt = ""  # the likely reason if the connection ends
        self._secure = isinstance(sock, ssl.SSLSocket)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED_MS)

    def ready(self) -> str:
        """Return the empty string: the server waits for media."""
        return ""

    def accept(self, tracks: Tracks) -> None:
        """Raise TargetError when the server lists its codecs and one of these is not among them.

        Many servers list none (Enhanced RTMP v1 has no such answer): those are tried.
        """
        modern = [t.codec for t in (tracks.video, tracks.audio) if t is not None and t.codec not in CLASSIC]
        for codec in modern:
            if self._known and FOURCCS[codec] not in self._known:
                raise TargetError(f"the server does not take {codec}", final=True)
        self._doubt = "" if self._known or not modern else f" (it has not said that it takes {' and '.join(modern)})"

    def put(self, block: Block, now_ns: int) -> None:
        """Send a block; queue it where the socket does not take all of it, which is rare."""
        if self._stream_id != USUAL_STREAM:
            block = patched(block, self._stream_id)
        queue = self.queue
        if queue.blocks or self._secure:
            queue.put(block, now_ns)
            return
        try:
            sent = self._sock.send(block.data)
        except _WAIT:
            sent = 0
        except OSError as error:
            raise self._lost(error) from error
        self.sent += sent
        if sent == len(block.data):
            queue.popped += 1
        else:
            queue.put(block, now_ns)
            self._offset = sent

    def flush(self, now_ns: int) -> None:  # noqa: ARG002  the signature that all lines have
        """Send what the socket takes."""
        blocks = self.queue.blocks
        try:
            while blocks:
                size, sent = self._send()
                self._advance(sent)
                if sent < size:
                    return
        except _WAIT:
            return
        except OSError as error:
            raise self._lost(error) from error

    def _send(self) -> tuple[int, int]:
        """Send once; return how much was offered and how much was taken."""
        blocks = self.queue.blocks
        first = memoryview(blocks[0][0].data)[self._offset :]
        if self._secure:
            part = first[:_TLS_RECORD]  # a retry after a full socket needs the same bytes (SSL_write)
            return len(part), self._sock.send(part)
        parts: list[bytes | memoryview] = [first]
        parts += [block.data for block, _ in islice(blocks, 1, _MOST_PARTS)]
        return sum(map(len, parts)), self._sock.sendmsg(parts)

    def _advance(self, sent: int) -> None:
        self.sent += sent
        sent += self._offset
        blocks = self.queue.blocks
        while blocks and sent >= len(blocks[0][0].data):
            sent -= len(blocks[0][0].data)
            self.queue.pop()
        self._offset = sent

    def listen(self, now_ns: int) -> None:
        """Read answers, now and then; TargetError when one of them ends the stream, or the server has closed."""
        if now_ns < self._listen_ns and not self._leaving:
            return
        self._listen_ns = now_ns + _LISTEN_EVERY_NS
        try:
            with suppress(*_WAIT):
                self._hear(now_ns)
        except OSError as error:
            raise self._lost(error) from error
        except RtmpError as error:
            raise TargetError(f"does not speak RTMP: {error}") from error
        if self._window and self._received - self._acknowledged >= self._window // 2:
            self._acknowledged = self._received
            total = (self._received & 0xFFFFFFFF).to_bytes(4, "big")
            self._control(chunks.ACKNOWLEDGEMENT, total, now_ns)

    def _lost(self, error: OSError) -> TargetError:
        """Return the error of a lost connection; one that timed out is stuck (TCP_USER_TIMEOUT)."""
        text = f"the connection was lost: {error.strerror or 'closed'}{self._doubt}"
        return TargetError(text, stuck=error.errno == errno.ETIMEDOUT)

    def _hear(self, now_ns: int) -> None:
        for _ in range(_MOST_READS):
            count = self._sock.recv_into(self._parser.room())
            if not count:
                raise TargetError(f"closed the connection{self._doubt}")
            self._received += count
            for message in self._parser.parse(count):
                self._answer(message, now_ns)

    def _answer(self, message: Message, now_ns: int) -> None:
        payload = bytes(message.payload[:6])
        if message.kind == chunks.WINDOW_ACK_SIZE and len(payload) >= 4:
            self._window = int.from_bytes(payload[:4], "big")
        elif message.kind == chunks.USER_CONTROL and payload[:2] == _PING_REQUEST:
            self._control(chunks.USER_CONTROL, _PING_RESPONSE + payload[2:], now_ns)
        elif message.kind in COMMANDS:
            self._heed(message)

    def _heed(self, message: Message) -> None:
        command = read_command(message)
        info = command.mapping(1)
        code, level = info.get("code"), info.get("level")
        if command.name == "close" or (command.name == "onStatus" and (level == "error" or code in _LOST)):
            said = [text for text in (code, info.get("description")) if isinstance(text, str) and text]
            text = redact(": ".join(said), self._address.secrets) or "closed the connection"
            raise TargetError(f"ended the stream: {text}{self._doubt}")

    def _control(self, kind: int, payload: bytes, now_ns: int) -> None:
        self._enqueue(write_message(_CONTROL, kind, 0, payload, chunk_size=CHUNK_SIZE), now_ns)

    def _enqueue(self, data: bytes, now_ns: int) -> None:
        """Queue a message after those that wait: they are whole, so it lies between two messages."""
        self.queue.put(Block(data, 0, 0), now_ns)

    def farewell(self, now_ns: int) -> None:
        """Queue the commands that end the stream."""
        self._leaving = True
        wishes = (("FCUnpublish", 6.0, None, self._address.name), ("deleteStream", 7.0, None, float(self._stream_id)))
        for wish in wishes:
            body = encode(*wish)
            self._enqueue(write_message(_COMMANDS, chunks.COMMAND_AMF0, 0, body, chunk_size=CHUNK_SIZE), now_ns)

    def drained(self) -> bool:
        """Shut down sending once all is sent; return False: the server may read until it closes, see `listen`."""
        if self._leaving and not self.queue.blocks and not self._shut:
            self._shut = True
            with suppress(OSError):
                self._sock.shutdown(socket.SHUT_WR)
        return False

    def close(self) -> None:
        """Close the connection."""
        self._sock.close()
