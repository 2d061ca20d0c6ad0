"""Segments as one MPEG transport stream (ISO/IEC 13818-1): remuxed one by one, as fast as they are wanted."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, Final

import av
from av.error import FFmpegError

from services.gateway.delivery.index.entries import IndexEntry
from services.gateway.delivery.joined import Joined, joined_from
from services.gateway.delivery.parts import Delivery
from services.gateway.delivery.rebase import Laid, Layout
from services.gateway.domain.errors import NotFound, TooMany
from shared.errors import MediaError
from shared.media.tracks import FRAME_CODECS
from shared.runtime.clock import Clock
from shared.store.base import ObjectMissing

TYPE: Final = "video/mp2t"
SCALE: Final = 90_000
_TOLD: Final = {"probesize": "32", "analyzeduration": "0"}  # the init segment says all: decoding to find out is slow
MOST_OPEN: Final = 32
MOST_OF_ACCOUNT: Final = 16
AHEAD: Final = timedelta(seconds=6)
"""How much a paced stream gives at once: players fill their buffers."""
_WAIT: Final = timedelta(seconds=10)


class _Sink:
    """Takes what the muxer writes."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        data = b"".join(self._parts)
        self._parts.clear()
        return data


class TsMuxer:
    """Remuxes segments. After a seam it begins anew, and signals a discontinuity."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._closed = False
        self._sink = _Sink()
        self._out: Any = None
        self._streams: dict[int, Any] = {}
        self._last: dict[int, int] = {}

    def segment(self, head: bytes, data: bytes, *, seam: bool) -> bytes:
        """Return the packets of a segment, whose times are final; MediaError. Blocks."""
        try:
            with self._lock, av.open(io.BytesIO(head + data), "r", format="mp4", options=_TOLD) as given:
                if self._closed:
                    return b""
                if seam or self._out is None:
                    self._begin(given, seam=seam)
                for packet in given.demux():
                    if self._goes_on(packet):
                        packet.stream = self._streams[packet.stream.index]
                        self._out.mux(packet)
        except FFmpegError as error:
            raise MediaError(f"segment cannot be remuxed: {type(error).__name__}") from error
        return self._sink.take()

    def _goes_on(self, packet: Any) -> bool:
        """Return whether a packet is of a known track and after the one before it; the muxer refuses others."""
        track = packet.stream.index
        if packet.dts is None or track not in self._streams:
            return False
        ticks = round(packet.dts * packet.time_base * SCALE)
        if ticks <= self._last.get(track, -1):
            return False
        self._last[track] = ticks
        return True

    def _begin(self, given: Any, *, seam: bool) -> None:
        self._end()
        options = {"flush_packets": "1", "mpegts_flags": "+initial_discontinuity" if seam else "0"}
        self._out = av.open(self._sink, "w", format="mpegts", options=options)
        self._streams = {
            stream.index: self._out.add_stream_from_template(stream)
            for stream in given.streams if stream.type in {"video", "audio"}
        }  # fmt: skip

    def _end(self) -> None:
        if self._out is not None:
            self._out.close()
            self._out = None

    def close(self) -> bytes:
        """End, and return the last packets; waits for a segment that another thread is at. Blocks."""
        with self._lock, suppress(FFmpegError):
            self._closed = True
            self._end()
        return self._sink.take()


class Remuxing:
    """Counts the streams that are being remuxed."""

    def __init__(self) -> None:
        self._open: dict[str, int] = {}

    @contextmanager
    def room(self, account: str) -> Any:
        """Hold room for a stream while the block runs; TooMany."""
        mine = self._open.get(account, 0)
        if mine >= MOST_OF_ACCOUNT or sum(self._open.values()) >= MOST_OPEN:
            raise TooMany("TOO_MANY_STREAMS", "too many transport streams are played here: use .m3u8, or wait", _WAIT)
        self._open[account] = mine + 1
        try:
            yield
        finally:
            self._open[account] -= 1
            if not self._open[account]:
                del self._open[account]


async def stream(
    delivery: Delivery, room: Remuxing, account: str, entries: AsyncIterator[IndexEntry], pace: Callable[[Laid], Any]
) -> AsyncIterator[bytes]:
    """Yield a transport stream of segments; `pace` is awaited before each.

    NotFound without any, and for pictures that it does not carry; TooMany.
    """
    muxer, layout = TsMuxer(), Layout()
    joined: Joined | None = None
    known = ""
    with room.room(account):
        try:
            async for entry in entries:
                if joined is None or entry.init_key != known:
                    if joined is None:
                        await _carried(delivery, entry)
                    try:
                        fresh = await joined_from(delivery, entry)
                    except NotFound:
                        if joined is None:
                            raise
                        continue  # it is gone meanwhile
                    fresh.lead = joined.lead if joined else fresh.lead
                    joined, known = fresh, entry.init_key
                laid = layout.lay(entry)
                await pace(laid)
                if data := await asyncio.to_thread(_remuxed, muxer, joined, laid):
                    yield data
            yield await asyncio.to_thread(muxer.close)
        finally:
            asyncio.get_running_loop().run_in_executor(None, muxer.close)  # a thread may be at a segment


async def _carried(delivery: Delivery, entry: IndexEntry) -> None:
    """Raise NotFound for pictures that a transport stream does not carry."""
    for track in await delivery.tracks_of(entry.init_key):
        if track.codec in FRAME_CODECS:
            raise NotFound(f"a transport stream does not carry {track.codec.upper()}: use .m3u8 or .mp4")


def _remuxed(muxer: TsMuxer, joined: Joined, laid: Laid) -> bytes:
    """Return a segment's packets; none of one that is gone or broken."""
    try:
        return muxer.segment(joined.head, joined.segment(laid), seam=laid.seam)
    except (ObjectMissing, MediaError):
        return b""


class Pace:
    """Lets segments go at the speed of the clock, AHEAD of it."""

    def __init__(self, clock: Clock, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._clock, self._sleep = clock, sleep
        self._begun_ns = clock.monotonic_ns()

    async def __call__(self, laid: Laid) -> None:
        """Wait until a segment is due."""
        begins = float(laid.shift) + laid.entry.start / laid.entry.timescale
        due_s = begins - AHEAD.total_seconds()
        left_s = due_s - (self._clock.monotonic_ns() - self._begun_ns) / 1e9
        if left_s > 0:
            await self._sleep(left_s)


async def unpaced(_laid: Laid) -> None:
    """Wait for nothing."""
