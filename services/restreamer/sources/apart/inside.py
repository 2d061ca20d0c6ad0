"""The child's side: open and demux files, whose bytes all come from the parent, and decode pictures."""

from __future__ import annotations

import ctypes
import gc
import os
import socket
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Final, Never

import av

from services.restreamer.model import FLICKS, SourceError
from services.restreamer.sources.apart import wire
from services.restreamer.sources.apart.confined import OUT_OF_MEMORY, Bounds, bound_computing, no_memory
from services.restreamer.sources.apart.nonsense import Nonsense
from services.restreamer.sources.apart.wire import Batch, Order, Said, Told
from services.restreamer.sources.apart.works import Given, Work, unpacked
from services.restreamer.sources.containers.demux import Demuxer
from services.restreamer.sources.frames import Raw
from services.restreamer.sources.picture_files import KINDS, decode_pixels
from shared.errors import MediaError
from shared.media.transcode.errors import Undecodable

_WORKING: Final = frozenset({Order.BEGIN, Order.PUSH, Order.FINISH})
_NS: Final = 1_000_000_000
_RENEW_NS: Final = _NS // 5
MOST_COMPUTING: Final = 20
"""CPU seconds per second of decoded and encoded media: anything slower is not fit for live."""
_TOLD_AGAIN: Final = 64  # messages after which a container's properties do not change any more


class _YoursError(SourceError):
    """The file broke off; the parent, which reads it, knows why."""

    def __init__(self, *, torn: bool) -> None:
        super().__init__("the file breaks off")
        self.torn = torn


class _Closed(Exception):  # noqa: N818  it names an event
    """The parent closed the connection."""


class _File:
    """The parent's file, as a file object."""

    def __init__(self, ask: Callable[[Said, int, int], tuple[int, int, bytes]], *, seekable: bool) -> None:
        self._ask = ask
        self._seekable = seekable
        self._at = 0

    def read(self, size: int) -> bytes:
        flags, _, data = self._ask(Said.READ, size, 0)
        self._check(flags)
        self._at += len(data)
        return data

    def seekable(self) -> bool:
        return self._seekable

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_CUR:
            offset, whence = self._at + offset, os.SEEK_SET
        if whence != os.SEEK_SET or offset != self._at:
            flags, number, _ = self._ask(Said.JUMP, offset, whence)
            self._check(flags)
            self._at = number
        return self._at

    def tell(self) -> int:
        return self._at

    def head(self) -> Never:
        raise NotImplementedError  # the parent has read it to find the container: no demuxer calls this

    def close(self) -> None:
        pass

    def _check(self, flags: int) -> None:
        if flags & wire.BROKEN:
            raise _YoursError(torn=bool(flags & wire.TORN))


class Meter:
    """Limits CPU time by the length of the input: `start`, plus MOST_COMPUTING times that length."""

    def __init__(self, start: timedelta) -> None:
        self._from = time.process_time() + start.total_seconds()
        self._first: int | None = None
        self._length = 0
        self._until = 0
        self.note(None)

    def note(self, at: int | None) -> None:
        """Record a packet's decode time, flicks."""
        if at is not None:
            self._first = at if self._first is None else self._first
            self._length = max(self._length, at - self._first)
        until = int(self._from + MOST_COMPUTING * self._length / FLICKS) + 1
        if until != self._until:
            self._until = until
            bound_computing(until)


class Inside:
    """Carries out the parent's orders one after the other."""

    def __init__(self, line: socket.socket, bounds: Bounds) -> None:
        self._line = line
        self._bounds = bounds
        self._allowance = bounds.cpu_seconds
        self._demuxer: Demuxer | None = None
        self._work: Work | None = None
        self._meter = Meter(bounds.cpu)
        self._left = 0
        self._batch = Batch()
        self._told = Told()
        self._messages = 0
        self._halted = False
        self._renewed = 0

    def serve(self) -> None:
        """Serve until the parent closes the connection."""
        self._left = _in_use()
        try:
            while True:
                order, flags, number, data = self._take()
                try:
                    if order in _WORKING:
                        self._work_on(order, data)
                    else:
                        self._renew()
                        self._carry_out(order, flags, number, data)
                except (SourceError, Nonsense, MemoryError) as error:
                    self._fail(error)
                except Undecodable as error:
                    self._fail(SourceError(str(error)))
                except (MediaError, av.error.FFmpegError) as error:
                    self._fail(SourceError(f"the file cannot be encoded: {error}"))
        except _Closed:
            pass
        except MemoryError:
            os._exit(OUT_OF_MEMORY)

    def _carry_out(self, order: int, flags: int, number: int, data: bytes) -> None:
        self._halted = False
        self._batch = Batch()
        if order == Order.OPEN:
            self._open(flags, number)
        elif order == Order.CLOSE:
            self._close()
            gc.collect()
            if self._bounds.works:  # pictures are large, and the next may not come for hours
                _give_back()
            self._say(Said.DONE, number=max(_in_use() - self._left, 0))
        elif order == Order.PICTURE:
            pixels = decode_pixels(KINDS[number & 0xFF], data, number >> 8)
            self._say(Said.DONE, number=pixels.shape[0] << 32 | pixels.shape[1], data=pixels.tobytes())
        elif self._demuxer is None:
            raise SourceError("nothing is open")
        elif order == Order.COVER:
            self._say(Said.DONE, data=self._demuxer.cover() or b"")
        elif order == Order.SEEK:
            self._say(Said.DONE, number=self._demuxer.seek(number))
        else:
            self._give(self._demuxer.frames())

    def _work_on(self, order: int, data: bytes) -> None:
        """Start work, or continue it."""
        self._halted = False
        self._batch = Batch()
        if order == Order.BEGIN:
            self._close()
            self._meter = Meter(self._bounds.cpu)
            self._work = work = unpacked(data).work()
            self._give(work.begin(), work)
        elif self._work is None:
            raise SourceError("nothing is begun")
        else:
            work, given = self._work, Given.unpack(data)
            self._meter.note(given.packet.dts if order == Order.PUSH and given.packet else None)
            self._give(work.push(given) if order == Order.PUSH else work.finish(given), work)

    def _open(self, flags: int, number: int) -> None:
        self._close()
        self._told, self._messages = Told(), 0
        file = _File(self._ask, seekable=bool(flags & wire.SEEKABLE))
        self._demuxer = demuxer = Demuxer(file, wire.CONTAINERS[number])
        self._say(Said.DONE, flags=wire.COVERED * demuxer.has_cover)

    def _close(self) -> None:
        self._work = None
        if self._demuxer is not None:
            self._demuxer.close()
            self._demuxer = None

    def _give(self, frames: Iterable[Raw], work: Work | None = None) -> None:
        for raw in frames:
            if self._halted:
                break
            self._batch.add(raw)
            if self._batch.full:
                self._say(Said.GIVEN)
                self._halted = bool(self._take()[1] & wire.HALT)
                if work is None:
                    self._renew()
            if self._halted:
                break
        over = work is not None and work.over
        self._say(Said.ENDED, flags=wire.OVER * over, number=work.reached if work is not None else 0)

    def _ask(self, said: Said, number: int, flags: int) -> tuple[int, int, bytes]:
        """Ask the parent about its file, and send it the frames demuxed so far."""
        moved = self._batch.count
        self._say(said, flags=flags, number=number)
        _, flags, number, data = self._take()
        if moved:
            self._renew()
        self._halted = self._halted or bool(flags & wire.HALT)
        return flags, number, data

    def _renew(self) -> None:
        """Renew the limit of CPU time, if more than _RENEW_NS of the last was used."""
        now = time.process_time_ns()
        if now - self._renewed > _RENEW_NS or not self._renewed:
            self._renewed = now
            bound_computing(now // _NS + 1 + self._allowance)

    def _fail(self, error: SourceError | Nonsense | MemoryError) -> None:
        text, flags = str(error), wire.LASTING
        if isinstance(error, _YoursError):
            flags |= wire.YOURS
        elif isinstance(error, MemoryError) or isinstance(error.__cause__, MemoryError):
            text = no_memory(self._bounds)
        elif isinstance(error, SourceError) and not error.lasting:
            flags = 0
        self._say(Said.FAILED, flags=flags, data=text.encode()[: 4 * wire.LONGEST_TEXT])

    def _say(self, said: Said, *, flags: int = 0, number: int = 0, data: bytes = b"") -> None:
        batch, self._batch = self._batch, Batch()
        pieces = wire.pack(
            said, self._tell(), Batch() if self._halted else batch, flags=flags, number=number, data=data
        )
        pieces = [piece for piece in pieces if piece]
        sent = self._line.sendmsg(pieces)
        if sent < sum(map(len, pieces)):
            self._line.sendall(memoryview(b"".join(pieces))[sent:])

    def _tell(self) -> Told:
        """Return what is known of the container by now."""
        demuxer = self._demuxer
        if demuxer is not None and self._messages < _TOLD_AGAIN:
            self._messages += 1
            self._told = Told(
                demuxer.has_video, demuxer.has_audio, demuxer.end, demuxer.shown_from, demuxer.video_end,
                demuxer.created_ms,
            )  # fmt: skip
        return self._told

    def _take(self) -> tuple[int, int, int, bytes]:
        head = self._received(wire.ORDER.size)
        order, flags, number, size = wire.ORDER.unpack(head)
        return order, flags, number, self._received(size) if size else b""

    def _received(self, size: int) -> bytes:
        data = self._line.recv(size, socket.MSG_WAITALL)
        if len(data) < size:
            raise _Closed
        return data


class _Heap(ctypes.Structure):
    """The result of mallinfo2(3), which only glibc has."""

    _fields_ = (
        ("_before", ctypes.c_size_t * 4), ("mapped", ctypes.c_size_t), ("_freed", ctypes.c_size_t * 2),
        ("used", ctypes.c_size_t), ("_rest", ctypes.c_size_t * 2),
    )  # fmt: skip


def _in_use() -> int:
    """Return the allocated bytes; 0 when they cannot be counted."""
    tell = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if tell is None:
        return 0
    tell.restype = _Heap
    heap = tell()
    return int(heap.used + heap.mapped)


def _give_back() -> None:
    """Hand free memory back to the system (malloc_trim(3) of glibc)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
