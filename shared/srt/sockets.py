"""One SRT socket: a thin wrapper of libsrt's calls with Python types and exceptions."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import c_bool, c_int, c_int64
from typing import Any

from shared.srt import address as addresses
from shared.srt.address import Address
from shared.srt.constants import (
    BOOLEANS,
    ERROR,
    INT64S,
    INVALID_SOCKET,
    LIVE_PAYLOAD_MAX,
    Errno,
    Option,
    SocketState,
)
from shared.srt.errors import SrtRefused
from shared.srt.library import SrtLibrary
from shared.srt.stats import PerfMon, SrtStats, from_perfmon


class ReadBuffer:
    """Memory of a fixed size into which libsrt writes messages one after the other."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.memory = (ctypes.c_char * size)()
        self.view = memoryview(self.memory).cast("B")


class SrtSocket:
    """A libsrt socket by its number; not thread-safe, except for `close`."""

    __slots__ = ("_c", "_library", "number")

    def __init__(self, library: SrtLibrary, number: int) -> None:
        self._library = library
        self._c: Any = library.c
        self.number = number

    @classmethod
    def create(cls, library: SrtLibrary) -> SrtSocket:
        """Return a new socket, neither bound nor connected."""
        number = int(library.c.srt_create_socket())
        if number == INVALID_SOCKET:
            raise library.last_error("srt socket")
        return cls(library, number)

    def set(self, option: Option, value: int | bytes) -> None:
        """Set an option; raise SrtError when libsrt refuses it, for its value or the socket's state."""
        holder: Any
        if isinstance(value, bytes):
            holder, size = value, len(value)
        else:
            kind = c_bool if option in BOOLEANS else c_int64 if option in INT64S else c_int
            holder, size = ctypes.byref(kind(value)), ctypes.sizeof(kind)
        if self._c.srt_setsockflag(self.number, option, holder, size) == ERROR:
            raise self._library.last_error(f"srt option {option.name}")

    def get(self, option: Option) -> int:
        """Return the value of an option: a number or a flag (0 or 1)."""
        kind: Any = c_bool if option in BOOLEANS else c_int64 if option in INT64S else c_int
        holder = kind()
        size = c_int(ctypes.sizeof(kind))
        if self._c.srt_getsockflag(self.number, option, ctypes.byref(holder), ctypes.byref(size)) == ERROR:
            raise self._library.last_error(f"srt option {option.name}")
        return int(holder.value)

    def bind(self, host: str, port: int) -> None:
        """Bind a local UDP port (0: any free one); raise SrtError when another program has it."""
        try:
            packed = addresses.resolve(host, port, passive=True)
        except OSError as error:
            raise self._library.last_error(f"srt bind {host}:{port}: {error}") from error
        if self._c.srt_bind(self.number, packed, len(packed)) == ERROR:
            raise self._library.last_error(f"srt bind {host}:{port}")

    def listen(self, backlog: int, callback: Any) -> None:
        """Listen; `callback` decides about each SRT caller (a ListenCallback that must be kept alive)."""
        if self._c.srt_listen_callback(self.number, callback, None) == ERROR:
            raise self._library.last_error("srt listen callback")
        if self._c.srt_listen(self.number, backlog) == ERROR:
            raise self._library.last_error("srt listen")

    def accept(self) -> SrtSocket | None:
        """Return the next connected SRT caller; None when there is none (or this socket is closed)."""
        number = int(self._c.srt_accept(self.number, None, None))
        return None if number == INVALID_SOCKET else SrtSocket(self._library, number)

    def connect(self, host: str, port: int) -> None:
        """Connect to a listener; raise SrtRefused with its reason, SrtError, or OSError (name unknown)."""
        packed = addresses.resolve(host, port)
        if self._c.srt_connect(self.number, packed, len(packed)) == ERROR:
            error = self._library.last_error(f"srt connect {host}:{port}")
            reason = self.reject_reason() if error.code == Errno.ECONNREJ else 0
            raise SrtRefused(f"{error} (reason {reason})", error.code, reason)

    def send(self, message: bytes) -> None:
        """Queue one message (at most the payload size); raise SrtError when broken or not queued within SNDTIMEO."""
        if self._c.srt_sendmsg2(self.number, message, len(message), None) == ERROR:
            raise self._library.last_error("srt send")

    def offer(self, messages: Sequence[bytes], begin: int, end: int) -> int:
        """Send messages `begin` to `end` until the buffer is full; return how many. SNDSYN must be off.

        Raise SrtError.
        """
        send, number = self._c.srt_sendmsg2, self.number
        for index in range(begin, end):
            message = messages[index]
            if send(number, message, len(message), None) == ERROR:
                if self._library.last_code() != Errno.EASYNCSND:
                    raise self._library.last_error("srt send")
                return index - begin
        return end - begin

    def drain(self, buffer: ReadBuffer) -> tuple[int, int]:
        """Read ready messages into the buffer without waiting; return the bytes read and the code that ended reading.

        The code is 0 when the buffer has no room for another message; EASYNCRCV: no more now. RCVSYN must be off.
        """
        # C values: a ctypes call with Python's numbers takes twice as long, and this runs 500 times a second.
        receive, number, most = self._c.srt_recvmsg, c_int(self.number), c_int(LIVE_PAYLOAD_MAX)
        memory, byref = buffer.memory, ctypes.byref
        here, last = 0, buffer.size - LIVE_PAYLOAD_MAX
        while here <= last:
            got = receive(number, byref(memory, here), most)
            if got <= 0:
                return here, self._library.last_code() if got < 0 else Errno.ECONNLOST
            here += got
        return here, Errno.SUCCESS

    def state(self) -> SocketState:
        """Return the connection's state; NONEXIST for a number that libsrt does not know any more."""
        return SocketState(self._c.srt_getsockstate(self.number))

    def stats(self) -> SrtStats:
        """Return the totals; raise SrtError once the connection is gone."""
        raw = PerfMon()
        self.sample(raw)
        return from_perfmon(raw)

    def sample(self, raw: PerfMon) -> None:
        """Read libsrt's totals into `raw`; raise SrtError, and leave `raw` unchanged, once the connection is gone."""
        if self._c.srt_bistats(self.number, ctypes.byref(raw), 0, 1) == ERROR:
            raise self._library.last_error("srt statistics")

    def local_address(self) -> Address:
        """Return the address that this socket is bound to."""
        raw = ctypes.create_string_buffer(addresses.SOCKADDR_MAX)
        size = c_int(addresses.SOCKADDR_MAX)
        if self._c.srt_getsockname(self.number, raw, ctypes.byref(size)) == ERROR:
            raise self._library.last_error("srt address")
        return addresses.unpack(raw.raw)

    def reject_reason(self) -> int:
        """Return the reject reason of a refused connection; 0 when unknown."""
        return int(self._c.srt_getrejectreason(self.number))

    def set_reject_reason(self, reason: int) -> None:
        """Set the code that is sent to a refused SRT caller (1000 and above)."""
        self._c.srt_setrejectreason(self.number, int(reason))

    def close(self) -> None:
        """Close the connection at once; closing again does nothing."""
        self._c.srt_close(self.number)
