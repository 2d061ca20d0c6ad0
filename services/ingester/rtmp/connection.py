"""One connection from accept to close, in its own thread."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, TypeVar

from services.ingester.refusals import PublishRefused, Why
from services.ingester.rtmp.admission import Admission
from services.ingester.rtmp.limits import RtmpLimits
from services.ingester.rtmp.link import Link
from services.ingester.rtmp.negotiation import Asked, Negotiation
from services.ingester.rtmp.publication import Publication
from services.ingester.rtmp.request import PublishRequest
from services.ingester.rtmp.transport import TlsTransport, Transport
from shared.errors import ReelayError, Rejected
from shared.rtmp import handshake
from shared.rtmp.errors import PeerGone, PeerTimeout, RtmpError
from shared.runtime.clock import Clock, to_ns
from shared.runtime.logging import bound, get_logger
from shared.security.peers import Budget, network_of

log = get_logger()

Grant = TypeVar("Grant")
_DRAIN = 64 * 1024
_MAX_DRAINED = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Service(Generic[Grant]):
    """The settings and objects that all connections of a server share."""

    authorize: Callable[[PublishRequest], Grant | None]
    on_publish: Callable[[Publication[Grant]], None]
    limits: RtmpLimits
    clock: Clock
    admission: Admission
    told: Budget
    """How many refusals are logged per network, so that endless retries do not fill the log."""
    tls: ssl.SSLContext | None


class Connection(Generic[Grant]):
    """Serves one peer; `run` serves it from start to end, `abort` ends it from any thread."""

    def __init__(self, service: Service[Grant], sock: socket.socket, address: str, port: int) -> None:
        self.address = address
        self.peer = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        self._service = service
        self._limits = service.limits
        self._clock = service.clock
        self._publication: Publication[Grant] | None = None
        self._aborted = False
        self._explains = False
        tick = min(self._limits.part, self._limits.handshake, self._limits.setup, self._limits.silence)
        tick_ns = to_ns(tick)
        self._transport: Transport
        if service.tls is None:
            self._transport = Transport(sock, tick_ns=tick_ns, outbox=self._limits.outbox)
        else:
            self._transport = TlsTransport(sock, service.tls, tick_ns=tick_ns, outbox=self._limits.outbox)
        self._link = Link(self._transport, self._limits, self._clock)
        self._negotiation = Negotiation(self._link, self._limits, peer=self.peer)
        self._begun_ns = self._clock.monotonic_ns()
        self._deadline_ns = self._begun_ns + to_ns(self._limits.handshake)

    def abort(self) -> None:
        """Close the connection at once, and its publication."""
        self._aborted = True
        if self._publication is not None:
            self._publication.close()
        self._transport.abort()

    def run(self) -> None:
        """Serve the peer until either side closes; nothing that the peer does raises."""
        try:
            self._serve()
            self._linger(self._limits.explain if self._explains else self._limits.linger)
        except PeerGone as error:
            log.debug("rtmp.connection.gone", peer=self.peer, reason=str(error))
        except RtmpError as error:
            log.info("rtmp.connection.ended", peer=self.peer, reason=str(error), error=type(error).__name__)
        finally:
            self._transport.close()
            self._service.admission.leave(self)

    def _serve(self) -> None:
        self._shake_hands()
        self._deadline_ns = self._begun_ns + to_ns(self._limits.setup)
        asked = None
        while asked is None:
            messages = self._link.receive()
            asked = self._negotiation.take(messages or [])
            self._check_deadline()
        if not self._service.admission.ask(self):  # from now on it is not closed for others
            raise PeerGone("had to make room")
        grant = self._ask(asked)
        if grant is None:
            self._service.admission.refuse(self)
        else:
            with bound(**getattr(grant, "fields", {})):
                self._publish(asked, grant)

    def _shake_hands(self) -> None:
        client = self._read(1 + handshake.SIZE)
        self._transport.send(handshake.answer(client, time_ms=self._clock.monotonic_ns() // 1_000_000))
        self._read(handshake.SIZE)  # C2 is not needed

    def _read(self, count: int) -> bytes:
        """Read exactly `count` bytes of the handshake."""
        data = bytearray(count)
        view, filled = memoryview(data), 0
        while filled < count:
            received = self._transport.receive(view[filled:])
            if received == 0:
                raise PeerGone("closed in the handshake")
            filled += received or 0
            if filled and data[0] != handshake.VERSION and count > handshake.SIZE:
                break  # not RTMP at all: do not wait for the rest
            self._check_deadline()
        return bytes(data)

    def _check_deadline(self) -> None:
        if self._clock.monotonic_ns() > self._deadline_ns:
            raise PeerTimeout("no handshake or publish in time")

    def _ask(self, asked: Asked) -> Grant | None:
        """Return the grant of `authorize`; otherwise log the refusal, send it to the publisher, and return None."""
        reason, grant = "not authorized", None
        why: Why = "unknown"
        fields: Mapping[str, str] = {}
        try:
            grant = self._service.authorize(asked.request)
        except PublishRefused as error:
            reason, why, fields = str(error), error.why, error.fields
        except Rejected as error:
            reason = str(error)
        except ReelayError as error:
            reason, why = f"could not be decided ({type(error).__name__})", "later"
        finally:
            if grant is None:
                if self._service.told.take(network_of(self.address)):
                    shown = {"peer": self.peer, "app": asked.request.label, "why": why, "reason": reason}
                    log.warning("rtmp.publish.refused", **shown, **fields)
                self._negotiation.refuse(asked.stream_id, f"Publishing was refused: {reason}.", why)
        return grant

    def _publish(self, asked: Asked, grant: Grant) -> None:
        publication = Publication(self._link, grant, asked.request, self._limits, self._clock)
        self._publication = publication
        if self._aborted:
            publication.close()
        log.info("rtmp.publish.accepted", peer=self.peer, app=asked.request.label)
        self._link.publishing()
        publication.begin(lambda: self._negotiation.accept(asked.stream_id), asked.rest)
        try:
            self._service.on_publish(publication)
        except ReelayError as error:
            log.warning("rtmp.publish.failed", peer=self.peer, error=type(error).__name__, reason=str(error))
        finally:
            publication.finish()
            self._say_farewell(asked.stream_id, publication)

    def _say_farewell(self, stream_id: int, publication: Publication[Grant]) -> None:
        """Confirm an end to the publisher that asked for it, or send it the reason why it may not continue."""
        refusal: PublishRefused | None = publication.refusal or getattr(publication.grant, "refusal", None)
        if publication.end_reason == "unpublished":
            self._negotiation.end(stream_id)
        if refusal is not None:
            self._explains = True
            with suppress(PeerGone):
                self._negotiation.refuse(stream_id, f"Publishing was refused: {refusal}.", refusal.why)

    def _linger(self, patience: timedelta) -> None:
        """Wait until the peer has read the last answer: closing with unread bytes would reset the connection."""
        self._transport.set_low_water(1)
        self._transport.finish_writing()
        until_ns = self._clock.monotonic_ns() + to_ns(patience)
        scrap, drained = memoryview(bytearray(_DRAIN)), 0
        while drained < _MAX_DRAINED and self._clock.monotonic_ns() < until_ns:
            received = self._transport.receive(scrap)
            if received == 0:
                return
            drained += received or 0
