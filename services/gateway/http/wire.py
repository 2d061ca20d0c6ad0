"""The transport as uvicorn's protocol sees it: it closes when all is sent, and limits the wait for a reader."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from uvicorn.protocols.http.flow_control import FlowControl

from services.gateway.http.framing import HttpLimits


class Wire(asyncio.Transport):
    """A transport whose `close` asks the protocol, and which aborts when the peer does not read."""

    def __init__(
        self,
        inner: asyncio.Transport,
        finish: Callable[[], None],
        loop: asyncio.AbstractEventLoop,
        limits: HttpLimits,
    ) -> None:
        super().__init__()
        self._inner = inner
        self._finish = finish
        self._loop = loop
        self._limits = limits
        self._finished = False
        self._unsent = 0
        self._timer: asyncio.TimerHandle | None = None

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return the inner transport's information."""
        return self._inner.get_extra_info(name, default)

    def is_closing(self) -> bool:
        """Return whether the connection is ending."""
        return self._finished or self._inner.is_closing()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes, unless the connection is ending."""
        if not self.is_closing():
            self._inner.write(data)

    def get_write_buffer_size(self) -> int:
        """Return the bytes that the system has not taken yet."""
        return self._inner.get_write_buffer_size()

    def pause_reading(self) -> None:
        """Pause reading, unless the inner transport is closing."""
        if not self._inner.is_closing():
            self._inner.pause_reading()

    def resume_reading(self) -> None:
        """Resume reading, unless the inner transport is closing."""
        if not self._inner.is_closing():
            self._inner.resume_reading()

    def close(self) -> None:
        """Let the protocol end the connection."""
        self._finish()

    def half_close(self) -> None:
        """Send what is written and the end of the stream; reading goes on."""
        self._finished = True
        with suppress(OSError, RuntimeError):  # the peer has gone, or the transport with it
            self._inner.write_eof()

    def end(self) -> None:
        """Send what is written, if the peer takes it, and close."""
        self._finished = True
        self._inner.close()
        if self._inner.get_write_buffer_size():
            self.watch()

    def abort(self) -> None:
        """Close at once."""
        self._finished = True
        self._inner.abort()

    def lost(self) -> None:
        """Record that the connection is lost."""
        self._finished = True
        self.unwatch()

    def watch(self) -> None:
        """Start watching whether the peer reads."""
        self.unwatch()
        self._unsent = self._inner.get_write_buffer_size()
        self._timer = self._loop.call_later(self._limits.stall_interval.total_seconds(), self._look)

    def unwatch(self) -> None:
        """Stop watching."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        unsent = self._inner.get_write_buffer_size()
        if unsent and unsent > self._unsent - self._limits.stall_bytes:
            self.abort()
        else:
            self.watch()


class HeldFlow(FlowControl):
    """uvicorn's flow control: it records what it wants, and the protocol decides whether the transport reads."""

    def __init__(self, transport: asyncio.Transport, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        super().__init__(transport)
        self._pause = pause
        self._resume = resume

    def pause_reading(self) -> None:
        """Ask the protocol to pause reading."""
        if not self.read_paused:
            self.read_paused = True
            self._pause()

    def resume_reading(self) -> None:
        """Ask the protocol to resume; data received already is parsed first."""
        self.read_paused = False
        self._resume()
