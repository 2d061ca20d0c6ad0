"""One caller's stream: MPEG-TS as it comes, behind a blocking read, and the frames in it.

Reading is paced, not woken: libsrt keeps what has come, and every `drain_interval` the reader takes all of it.
libsrt could wake the reader for each message; five hundred times a second for a stream of 5 Mbps, that alone
costs more than all the rest of the reading.
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

_BUFFER: Final = 512 * 1024  # what one drain takes at most: 400 ms of 10 Mbps; more is taken at once, in turns
_NS: Final = 1_000_000
_TAIL_STEP_S: Final = 0.01
_PACKET: Final = 188  # ISO/IEC 13818-1, 2.4.3.2: a packet is 188 bytes and begins with 0x47
_SYNC: Final = 0x47
_PROBE: Final = 5 * _PACKET


class SrtPublication:
    """A caller's stream. `frames` and `read` belong to one thread; `close` and `stats` to any.

    `cause` says in the log's words what `end_reason` stands for: disconnected, silent, not_mpegts, closed.
    """

    dropped_frames: Final = 0
    """MPEG-TS says with each packet what it needs."""

    def __init__(self, socket: SrtSocket, grant: SrtGrant, peer: Address, limits: SrtLimits, clock: Clock) -> None:
        self.grant = grant
        self.peer = peer
        self.end_reason: EndReason | None = None
        self.cause = ""
        self.heard_ns = clock.monotonic_ns()
        """When bytes last came to be read."""
        self.bytes_read = 0
        self.session = ""  # what the consumer calls it, for the log
        self._socket = socket
        self._clock = clock
        self._interval_ns = ms(limits.drain_interval) * _NS
        self._silence_ns = ms(limits.silence) * _NS
        self._tail_ns = (socket.get(Option.RCVLATENCY) + 1000) * _NS
        self._buffer = ReadBuffer(_BUFFER)
        self._start = self._end = 0  # what of the buffer is not handed out yet
        self._lock = threading.Lock()  # libsrt frees a closed socket a second later: never close amid a call
        self._ending = threading.Event()
        now = clock.monotonic_ns()
        self._next_drain = now
        self._last_data = now
        self._broken_since: int | None = None
        self._totals = PerfMon()  # of the last drain
        self._proven = False

    @property
    def lost_packets(self) -> int:
        """Packets that never came in time."""
        return self.stats().packets_dropped

    def frames(self) -> Iterator[Batch]:
        """Wait for frames until the caller's stream ends; NotMedia, NothingRecordable."""
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
        """Return from 1 to `size` bytes of MPEG-TS, waiting for them; b"" at the end, whatever ended it."""
        if self._start == self._end and not self._fill():
            return b""
        stop = self._end if size < 0 else min(self._end, self._start + size)
        data = bytes(self._buffer.view[self._start : stop])
        self._start = stop
        self.bytes_read += len(data)
        return data

    def stats(self) -> SrtStats:
        """Totals so far; after the end, those of the last drain."""
        with self._lock:
            self._sample()
            return from_perfmon(self._totals)

    def close(self) -> None:
        """Disconnect the caller at once; a read that waits gives b""."""
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
        # A full buffer means there is more; a broken connection still holds what has not reached its time.
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
        # The caller is gone. What it sent last waits in libsrt until its latency has passed.
        self._broken_since = self._broken_since or now
        if now - self._broken_since > self._tail_ns or not self._holds_data():
            self._end_with("disconnected", "disconnected")
            return
        self._ending.wait(_TAIL_STEP_S)

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
    """Tell whether five packets in a row begin somewhere in the data's first packet (any start will do)."""
    return any(
        all(data[at] == _SYNC for at in range(offset, offset + _PROBE - _PACKET + 1, _PACKET))
        for offset in range(min(_PACKET, len(data) - _PROBE + 1))
    )


def seconds(duration: timedelta) -> float:
    """Seconds for the waiting functions of threading, which know no other unit."""
    return duration / timedelta(seconds=1)
