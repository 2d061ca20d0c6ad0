"""Bounds on connections that uvicorn leaves open: request heads that never end, and readers that have stopped."""

from __future__ import annotations

import asyncio
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LARGEST_HEAD: Final = 64 * 1024
HEAD_S: Final = 20.0
STALL_S: Final = 60.0


class BoundedProtocol(HttpToolsProtocol):
    """Closes a connection whose request head is too large or too slow, or whose peer takes no byte for a minute."""

    _head_bytes = 0
    _in_head = True
    _head_timer: asyncio.TimerHandle | None = None
    _stall_timer: asyncio.TimerHandle | None = None
    _unsent = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._await_head()

    def on_message_begin(self) -> None:
        """Begin a request's head."""
        super().on_message_begin()
        self._await_head()

    def on_headers_complete(self) -> None:
        """End a request's head."""
        self._in_head = False
        self._disarm_head()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Count what belongs to a head."""
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > LARGEST_HEAD:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers."""
        self._disarm_head()
        self._disarm_stall()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Begin to watch whether the peer reads on."""
        super().pause_writing()
        self._unsent = self.transport.get_write_buffer_size()
        self._arm_stall()

    def resume_writing(self) -> None:
        """Stop watching."""
        self._disarm_stall()
        super().resume_writing()

    def _await_head(self) -> None:
        self._in_head = True
        self._head_bytes = 0
        self._disarm_head()
        self._head_timer = self.loop.call_later(HEAD_S, self.transport.close)

    def _disarm_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _arm_stall(self) -> None:
        self._disarm_stall()
        self._stall_timer = self.loop.call_later(STALL_S, self._look_at_stall)

    def _disarm_stall(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def _look_at_stall(self) -> None:
        unsent = self.transport.get_write_buffer_size()
        if unsent >= self._unsent:
            self.transport.abort()
            return
        self._unsent = unsent
        self._arm_stall()
