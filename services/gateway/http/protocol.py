"""One HTTP connection, with the limits in every phase that uvicorn lacks.

A request is parsed when the one before it is answered; until then received data waits unparsed, and no more is read.
Every wait for a peer has a deadline, and a connection that waits may be closed to make room for others.
"""

from __future__ import annotations

import asyncio
from enum import Enum, auto
from typing import Any, Final

import httptools
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from services.gateway.http.crowd import Crowd
from services.gateway.http.framing import Excess, Framer, HttpLimits
from services.gateway.http.problems import ApiError, answer
from services.gateway.http.wire import HeldFlow, Wire

_MALFORMED: Final = "this is not an HTTP request that can be read"


class Phase(Enum):
    """What the connection waits for."""

    IDLE = auto()
    HEAD = auto()
    BODY = auto()
    ANSWER = auto()
    DRAIN = auto()
    GONE = auto()


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, fed one part of a request at a time by a Framer, and counted by a Crowd."""

    def __init__(self, *args: Any, crowd: Crowd, limits: HttpLimits, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._crowd = crowd
        self._limits = limits
        self._spans = {
            Phase.IDLE: limits.idle.total_seconds(),
            Phase.HEAD: limits.head_within.total_seconds(),
            Phase.BODY: limits.rate_interval.total_seconds(),
            Phase.DRAIN: limits.drain_within.total_seconds(),
        }
        self._framer = Framer(limits)
        self._pending = b""  # received data that may not be parsed yet, from `_at` on
        self._at = 0
        self._excess: Excess | None = None
        self._parsing = False
        self._reading = True
        self._phase = Phase.IDLE
        self._received = self._marked = 0
        self._begun = 0.0  # on the loop's clock
        self._timer: asyncio.TimerHandle | None = None
        self._ending = False
        self._wire: Wire

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Start waiting for a request, if there is room."""
        self._wire = Wire(transport, self.finish, self.loop, self._limits)
        super().connection_made(self._wire)
        self.flow: FlowControl = HeldFlow(self._wire, self._regulate, self._later)
        if not self._crowd.enter(self, self.client[0] if self.client else ""):
            self.abort()
            return
        self._arm(Phase.HEAD)

    def connection_lost(self, exc: Exception | None) -> None:
        """Release all that the connection holds."""
        self._ending = True
        self._phase = Phase.GONE
        self._pending = b""
        self._disarm()
        self._wire.lost()
        self._crowd.leave(self)
        super().connection_lost(exc)

    def abort(self) -> None:
        """Close the connection at once: its slot is needed."""
        self._ending = True
        self._wire.abort()

    # Input

    def data_received(self, data: bytes) -> None:
        """Store received data, and parse what may be parsed now."""
        self._received += len(data)
        if self._ending:
            if self._received > self._limits.drained:
                self._wire.abort()
            return
        self._pending = self._pending[self._at :] + data
        self._at = 0
        self._advance()

    def _later(self) -> None:
        self.loop.call_soon(self._advance)

    def _advance(self) -> None:
        """Parse part by part while that is allowed; the rest waits."""
        if self._parsing or self._ending:
            return
        self._parsing = True
        try:
            while self._holds() and self._may_parse():
                begin, self._at = self._at, self._framer.cut(self._pending, self._at)
                self._parse(self._pending[begin : self._at])
        except Excess as excess:
            self._refuse(excess.status, str(excess))
        except httptools.HttpParserError:
            self._refuse(400, _MALFORMED)
        finally:
            self._parsing = False
        if not self._ending:
            self._settle()
            self._regulate()

    def _holds(self) -> bool:
        return self._at < len(self._pending)

    def _may_parse(self) -> bool:
        if self._ending or self.flow.read_paused:
            return False
        if self._framer.whole:
            if not self._answered:
                return False
            self._framer.begin()
        return True

    @property
    def _answered(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _parse(self, piece: bytes) -> None:
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade:  # a request to upgrade: answered as a plain one, and closed
            self.cycle.keep_alive = False
            self._pending = self._pending[: self._at]
            return
        if self._excess is not None:
            raise self._excess
        if not self._framer.in_head and not self._answered and self._framer.whole is self.cycle.more_body:
            raise Excess(400, _MALFORMED)  # the parser disagrees: nothing that follows can be trusted

    def on_url(self, url: bytes) -> None:
        """Add a part of the target, up to its limit."""
        super().on_url(url)
        if len(self.url) > self._limits.target:
            self._excess = Excess(414, f"the request's target has more than {self._limits.target} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header; trailers are dropped."""
        if self._framer.in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start the answer."""
        self._framer.body(self.headers)
        if self._excess is not None:
            return
        self._received, self._begun = 0, self.loop.time()
        super().on_headers_complete()

    # Answers

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGIApp) -> None:  # type: ignore[override]  # Starlette's type
        super()._start_asgi_task(cycle, self._telling(cycle, app))  # type: ignore[arg-type]  # as above

    def _telling(self, cycle: RequestResponseCycle, app: ASGIApp) -> ASGIApp:
        """Wrap the application: its answer ends the connection when much of the request is still to come."""

        async def told(scope: Scope, receive: Receive, send: Send) -> None:
            async def sending(message: Message) -> None:
                if message["type"] == "http.response.start" and cycle.more_body:
                    left = self._framer.left
                    if left is None or left > self._limits.kept:
                        cycle.keep_alive = False
                await send(message)

            await app(scope, receive, sending)

        return told

    def on_response_complete(self) -> None:
        """Continue with the next request."""
        self.server_state.total_requests += 1
        if not self._ending:
            self.flow.resume_reading()
            self._settle()

    def _refuse(self, status: int, message: str) -> None:
        """Answer a malformed or late request with an error, and end the connection."""
        if not self._answered:
            started, self.cycle.disconnected = self.cycle.response_started, True
            self.cycle.message_event.set()
            if started:
                self.abort()
                return
        elif self._phase is Phase.DRAIN:
            self.finish()
            return
        response = answer(ApiError(status, message, headers={"Connection": "close"}))
        lines = [STATUS_LINE[status]]
        for name, value in [*self.server_state.default_headers, *response.raw_headers]:
            lines += [name, b": ", value, b"\r\n"]
        self._wire.write(b"".join([*lines, b"\r\n", bytes(response.body)]))
        self.finish()

    # End and timeouts

    def finish(self) -> None:
        """Send what is written, and close; while the peer still sends, some of that is read first.

        Closing with unread bytes would reset the connection and lose the answer (RFC 9112, 9.6).
        """
        if self._ending:
            return
        self._ending = True
        rest = self._holds() or not (self._framer.whole or self._framer.fresh)
        self._pending, self._at, self._received = b"", 0, 0
        self._phase = Phase.GONE
        self._crowd.wait(self)
        if rest:
            self._wire.half_close()
            self._start_reading()
            self._arm(Phase.DRAIN)
        else:
            self._disarm()
            self._wire.end()

    def shutdown(self) -> None:
        """Close at once unless a request is in progress: the server stops."""
        if self._ending or self._answered:
            self._ending = True
            self._wire.end()
        else:
            super().shutdown()

    def _settle(self) -> None:
        """Determine the phase, and start its timer when it has changed."""
        if self._answered:
            fresh = self._framer.whole or self._framer.fresh
            phase = Phase.IDLE if fresh else Phase.HEAD if self._framer.in_head else Phase.DRAIN
        else:
            phase = Phase.ANSWER if self._framer.whole else Phase.BODY
        if phase is self._phase:
            return
        if self._phase is Phase.ANSWER or phase is Phase.ANSWER:
            (self._crowd.busy if phase is Phase.ANSWER else self._crowd.wait)(self)
        self._phase, self._marked = phase, 0
        if phase in self._spans:
            self._arm(phase)
        else:
            self._disarm()

    def _arm(self, phase: Phase) -> None:
        """Start the timer of a phase."""
        self._disarm()
        self._timer = self.loop.call_later(self._spans[phase], self._overdue)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _overdue(self) -> None:
        self._timer = None
        if self._ending:
            self._wire.end()
        elif self._phase is Phase.BODY and self._comes():
            self._marked = self._received
            self._arm(Phase.BODY)
        elif self._phase in {Phase.HEAD, Phase.BODY}:
            self._refuse(408, "the request did not arrive in time")
        else:
            self.finish()

    def _comes(self) -> bool:
        """Return whether a body may go on: it arrives fast enough, or the server does not read or want it yet."""
        if not self._reading or self.cycle.waiting_for_100_continue:
            self._begun += self._spans[Phase.BODY]
            return True
        slow = self._received - self._marked < self._limits.rate_bytes
        return not slow and self.loop.time() - self._begun < self._limits.body_within.total_seconds()

    def _regulate(self) -> None:
        """Read only while no received data waits to be parsed."""
        if self._ending:
            return
        if self._holds() or self.flow.read_paused:
            if self._reading:
                self._reading = False
                self._wire.pause_reading()
        else:
            self._start_reading()

    def _start_reading(self) -> None:
        if not self._reading:
            self._reading = True
            self._wire.resume_reading()

    def pause_writing(self) -> None:
        """Start watching whether the peer reads."""
        super().pause_writing()
        self._wire.watch()
        self._crowd.stall(self)

    def resume_writing(self) -> None:
        """Stop watching whether the peer reads."""
        self._wire.unwatch()
        self._crowd.flow(self)
        super().resume_writing()
