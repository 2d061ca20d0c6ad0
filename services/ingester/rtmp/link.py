"""Messages of one connection: parses chunks, answers control messages, sends acknowledgements."""

from __future__ import annotations

from services.ingester.rtmp.limits import RtmpLimits
from services.ingester.rtmp.lowwater import LowWater
from services.ingester.rtmp.transport import Transport
from shared.rtmp import chunks
from shared.rtmp.amf import encode
from shared.rtmp.chunks import ChunkLimits, ChunkParser, Message, write_message
from shared.rtmp.cursor import Value
from shared.rtmp.errors import LimitExceeded, PeerGone, ProtocolError
from shared.runtime.clock import Clock, to_ns

CHUNK_SIZE = 65536
"""The chunk size of our messages; FFmpeg then uses the same."""
WINDOW = 2_500_000
_STREAM_BEGIN, _PING_REQUEST, _PING_RESPONSE = b"\x00\x00", b"\x00\x06", b"\x00\x07"
_CONTROL_STREAM, _COMMAND_STREAM = 2, 3
_READ_SIZE = 128 * 1024
_MEDIA = frozenset({chunks.AUDIO, chunks.VIDEO, chunks.AGGREGATE})
_COST = 16


class Link:
    """Sends and receives messages, in the connection's thread."""

    def __init__(self, transport: Transport, limits: RtmpLimits, clock: Clock) -> None:
        self.transport = transport
        self.bytes_received = 0
        self._limits = limits
        self._clock = clock
        self._window = WINDOW
        self._acknowledged = 0
        self._low_water: LowWater | None = None
        self._allowance = limits.setup_bytes
        self._allowed_at_ns = 0
        small = limits.setup_unfinished
        self._parser = ChunkParser(ChunkLimits(small, small, limits.chunk_streams))

    def receive(self) -> list[Message] | None:
        """Return the received messages; None when nothing came within a tick.

        Raises PeerGone at the end of the connection, ProtocolError, LimitExceeded.
        """
        count = self.transport.receive(self._parser.room())
        if count is None:
            return None
        if not count:
            raise PeerGone("connection closed")
        self.bytes_received += count
        if self._low_water is not None:
            self._low_water.note(count, self._clock.monotonic_ns())
        elif self.bytes_received > self._limits.setup_bytes:
            raise LimitExceeded("too much before publish")
        messages = self._parser.parse(count)
        for message in messages:
            if message.kind not in _MEDIA or not message.payload:
                self._control(message)
        if self.bytes_received - self._acknowledged >= self._window // 2:
            self._acknowledge()
        return messages

    def publishing(self) -> None:
        """Switch to a publisher's limits, and to large reads that wait for the low-water mark."""
        limits, now_ns = self._limits, self._clock.monotonic_ns()
        self._parser.limits = ChunkLimits(limits.message, limits.unfinished, limits.chunk_streams)
        self._parser.resize(_READ_SIZE)
        part_ns = to_ns(limits.part)
        self._low_water = LowWater(
            self.transport.set_low_water, part_ns=part_ns, most=limits.low_water, start_ns=now_ns
        )
        self._low_water.window = self._window
        self._allowance, self._allowed_at_ns = limits.other_burst, now_ns

    def greet(self) -> None:
        """Send our window and chunk size, before anything else."""
        window = WINDOW.to_bytes(4, "big")
        self._send_control(chunks.WINDOW_ACK_SIZE, window)
        self._send_control(chunks.SET_PEER_BANDWIDTH, window + b"\x02")  # 2: dynamic
        self._send_control(chunks.SET_CHUNK_SIZE, CHUNK_SIZE.to_bytes(4, "big"))

    def send_command(self, *values: Value, stream_id: int = 0) -> None:
        """Send a command in AMF0."""
        body = encode(*values)
        data = write_message(_COMMAND_STREAM, chunks.COMMAND_AMF0, stream_id, body, chunk_size=CHUNK_SIZE)
        self.transport.send(data)

    def begin_stream(self, stream_id: int) -> None:
        """Announce a message stream (User Control, Stream Begin)."""
        self._send_control(chunks.USER_CONTROL, _STREAM_BEGIN + stream_id.to_bytes(4, "big"))

    def _send_control(self, kind: int, payload: bytes) -> None:
        self.transport.send(write_message(_CONTROL_STREAM, kind, 0, payload, chunk_size=CHUNK_SIZE))

    def _control(self, message: Message) -> None:
        self._spend(len(message.payload) + _COST)
        payload = message.payload
        if message.kind == chunks.WINDOW_ACK_SIZE:
            if len(payload) < 4 or not int.from_bytes(payload[:4], "big"):
                raise ProtocolError("bad window acknowledgement size")
            self._window = int.from_bytes(payload[:4], "big")
            if self._low_water is not None:
                self._low_water.window = self._window
        elif message.kind == chunks.USER_CONTROL and bytes(payload[:2]) == _PING_REQUEST:
            self._send_control(chunks.USER_CONTROL, _PING_RESPONSE + bytes(payload[2:6]))

    def _spend(self, cost: int) -> None:
        """Charge a message that is not media (command, data, control, empty); LimitExceeded past the allowance."""
        self._allowance -= cost
        if self._allowance >= 0:
            return
        if self._low_water is not None:
            now_ns = self._clock.monotonic_ns()
            earned = (now_ns - self._allowed_at_ns) * self._limits.other_rate // 1_000_000_000
            self._allowance = min(self._allowance + earned, self._limits.other_burst)
            self._allowed_at_ns = now_ns
        if self._allowance < 0:
            raise LimitExceeded("too much that is not media")

    def _acknowledge(self) -> None:
        self._acknowledged = self.bytes_received
        self._send_control(chunks.ACKNOWLEDGEMENT, (self.bytes_received & 0xFFFFFFFF).to_bytes(4, "big"))
