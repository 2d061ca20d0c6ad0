"""One caller's stream: a blocking read of MPEG-TS, and the frames in it.

Reads are paced, not woken: libsrt buffers the received data, and every `drain_interval` the reader takes all of it.
libsrt could wake the reader for each message; at five hundred times a second for a 5 Mbps stream, that alone costs
more than the rest of the reading.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from services.ingester.prospects import hopeful
from services.ingester.publication import Arrival, Batch, Frame
from services.ingester.recorder.mpegts import TsDemuxer
from services.ingester.srt.model import SrtGrant, SrtLimits
from shared.messages.live import EndReason
from shared.runtime.clock import Clock
from shared.srt.address import Address
from shared.srt.caller import ms
from shared.srt.constants import Errno, Option
from shared.srt.errors import SrtError
from shared.srt.sockets import ReadBuffer, SrtSocket
from shared.srt.stats import PerfMon, SrtStats, from_perfmon

_BUFFER: Final = 512 * 1024  # the most one drain takes: 400 ms of 10 Mbps; a full buffer is drained again at once
_NS: Final = 1_000_000
_TAIL_STEP: Final = timedelta(milliseconds=10)
_PACKET: Final = 188  # ISO/IEC 13818-1, 2.4.3.2: a packet is 188 bytes and begins with 0x47
_SYNC: Final = 0x47
_PROBE: Final = 5 * _PACKET


class SrtPublication:
    """A caller's stream. Use `frames` and `read` in one thread, `close` and `stats` in any.

    `cause` is the logged cause of `end_reason`: disconnected, silent, not_mpegts, closed.
    """

    dropped_frames: Final = 0
    """Always 0: no MPEG-TS frame is dropped for want of a sequence header."""

    def __init__(self, socket: SrtSocket, grant: SrtGrant, peer: Address, limits: SrtLimits, clock: Clock) -> None:
        self.grant = grant
        self.peer = peer
        self.end_reason: EndReason | None = None
        self.cause = ""
        self.heard_ns = clock.monotonic_ns()
        """The clock's monotonic time of the last received bytes."""
        self.bytes_read = 0
        self.session = ""  # the consumer's session id, for the log
        self._socket = socket
        self._clock = clock
        self._interval_ns = ms(limits.drain_interval) * _NS
        self._silence_ns = ms(limits.silence) * _NS
        self._tail_ns = (socket.get(Option.RCVLATENCY) + 1000) * _NS
        self._buffer = ReadBuffer(_BUFFER)
        self._start = self._end = 0  # the part of the buffer that is not returned yet
        self._lock = threading.Lock()  # libsrt frees a closed socket a second later: never close during a call
        self._ending = threading.Event()
        now = clock.monotonic_ns()
        self._next_drain = now
        self._last_data = now
        self._broken_since: int | None = None
        self._totals = PerfMon()  # of the last drain
        self._proven = False

    @property
    def lost_packets(self) -> int:
        """The number of packets that did not arrive in time."""
        return self.stats().packets_dropped

    def frames(self) -> Iterator[Batch]:
        """Yield frames until the caller's stream ends; raises NotMedia or NothingRecordable."""
        self.heard_ns = self._clock.monotonic_ns()
        return hopeful(self._demuxed(), self._clock)

    def _demuxed(self) -> Iterator[Batch]:
        demuxer = TsDemuxer()
        while data := self.read(_BUFFER):
            self.heard_ns = self._clock.monotonic_ns()
            yield self._batch(demuxer.feed(data), demuxer, len(data))
        yield self._batch(demuxer.flush(), demuxer, 0)

    def _batch(self, frames: list[Frame], demuxer: TsDemuxer, size: int) -> Batch:
        arrival = Arrival(self._clock.monotonic_ns(), self._clock.now_ms())
        return Batch(arrival, frames, demuxer.contents, size, demuxer.damaged)

    def read(self, size: int = -1) -> bytes:
        """Wait for and return 1 to `size` bytes of MPEG-TS; b"" at the end, whatever ended the stream."""
        if self._start == self._end and not self._fill():
            return b""
        stop = self._end if size < 0 else min(self._end, self._start + size)
        data = bytes(self._buffer.view[self._start : stop])
        self._start = stop
        self.bytes_read += len(data)
        return data

    def stats(self) -> SrtStats:
        """Return the totals so far; after the end, those of the last drain."""
        with self._lock:
            self._sample()
            return from_perfmon(self._totals)

    def close(self) -> None:
        """Disconnect the caller at once; a waiting read returns b""."""
        self._end_with("stopped", "closed")

    def _fill(self) -> bool:
        while not self._ending.is_set():
            wait = self._next_drain - self._clock.monotonic_ns()
            if wait > 0 and self._ending.wait(wait / 1e9):
                break
            got, code = self._drain()
            if got and self._accept(got):
                return True
            self._judge(code)
        return False

    def _drain(self) -> tuple[int, int]:
        with self._lock:
            if self._ending.is_set():
                return 0, Errno.SUCCESS
            got, code = self._socket.drain(self._buffer)
            now = self._clock.monotonic_ns()
            self._sample()
        if got:
            self._last_data = now
        # A full buffer means there is more; a broken connection still holds packets whose delivery time is not reached.
        if code == Errno.EASYNCRCV:
            self._next_drain = now + self._interval_ns
        return got, code

    def _accept(self, got: int) -> bool:
        self._start, self._end = 0, got
        if not self._proven and got >= _PROBE:
            self._proven = looks_like_mpegts(bytes(self._buffer.view[:got]))
            if not self._proven:
                self._start = self._end = 0
                self._end_with("bad_media", "not_mpegts")
                return False
        return True

    def _judge(self, code: int) -> None:
        now = self._clock.monotonic_ns()
        if code in (Errno.SUCCESS, Errno.EASYNCRCV):
            if now - self._last_data > self._silence_ns:
                self._end_with("silent", "silent")
            return
        # The caller is gone. Its last packets wait in libsrt until the latency has passed.
        self._broken_since = self._broken_since or now
        if now - self._broken_since > self._tail_ns or not self._holds_data():
            self._end_with("disconnected", "disconnected")
            return
        self._ending.wait(_TAIL_STEP.total_seconds())

    def _holds_data(self) -> bool:
        with self._lock:
            try:
                return not self._ending.is_set() and self._socket.get(Option.RCVDATA) > 0
            except SrtError:  # libsrt has dropped the socket
                return False

    def _sample(self) -> None:
        if self._ending.is_set():
            return
        try:
            self._socket.sample(self._totals)
        except SrtError:  # the connection is gone: the last sample stays
            return

    def _end_with(self, reason: EndReason, cause: str) -> None:
        with self._lock:
            if self._ending.is_set():
                return
            self._sample()
            self.end_reason, self.cause = reason, cause
            self._ending.set()
            self._socket.close()


def looks_like_mpegts(data: bytes) -> bool:
    """Return whether five consecutive packets start at any offset within the first 188 bytes."""
    return any(
        all(data[at] == _SYNC for at in range(offset, offset + _PROBE - _PACKET + 1, _PACKET))
        for offset in range(min(_PACKET, len(data) - _PROBE + 1))
    )
