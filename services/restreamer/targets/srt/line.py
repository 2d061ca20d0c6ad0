"""SRT connections that send: as caller to a listener, or as listener to a caller (docs/API of libsrt 1.5)."""

from __future__ import annotations

import hmac
import threading
from typing import Final

from services.restreamer.targets.addresses import SrtAddress
from services.restreamer.targets.rules import TargetRules
from services.restreamer.targets.terms import Block, Queue, TargetError, Tracks
from shared.errors import DestinationFailed, Rejected
from shared.runtime.clock import Clock
from shared.security.netguard.blocking import resolve_now
from shared.srt.caller import CallOptions, prepare
from shared.srt.constants import ERROR, LIVE_PAYLOAD, Errno, Option, Reject, SocketState
from shared.srt.errors import SrtError, SrtRefused, SrtUnavailable
from shared.srt.guard import CallbackGuard
from shared.srt.library import ListenCallback, load
from shared.srt.sockets import SrtSocket

_CATCH_UP: Final = 4
"""The beginning is sent this many times faster than real time: SRT drops what a burst delays beyond its latency."""
_FLICKS_IN_NS: Final = (441, 625)  # 705.6 in 1000
_BURST: Final = 64  # datagrams
_MARGIN_NS: Final = 50_000_000
_REASONS: Final = {
    Reject.BADSECRET: "the passphrase is wrong", Reject.UNSECURE: "a passphrase is needed, or is not wanted",
    Reject.UNAUTHORIZED: "not authorized", Reject.FORBIDDEN: "forbidden", Reject.NOT_FOUND: "not found",
    Reject.CONFLICT: "somebody else is publishing", Reject.OVERLOAD: "overloaded", Reject.BAD_MODE: "wrong mode",
    Reject.BAD_REQUEST: "bad stream id", Reject.VERSION: "its SRT version does not fit", Reject.TIMEOUT: "timed out",
}  # fmt: skip


def call_srt(address: SrtAddress, rules: TargetRules, clock: Clock) -> SrtLine:
    """Connect to a listener and wait for its answer; TargetError when it does not accept."""
    try:
        peer = resolve_now(address.host, address.port, allowed=rules.allowed, lookup=rules.lookup)[0]
        socket = SrtSocket.create(load())
    except (Rejected, DestinationFailed, SrtUnavailable) as error:
        raise TargetError(str(error), final=isinstance(error, Rejected)) from error
    try:
        prepare(socket, _options(address, rules))
        _ports.bind(socket, peer.version)
        socket.connect(str(peer), address.port)
        return SrtLine(socket, clock)
    except SrtRefused as error:
        socket.close()
        raise _refused(error) from error
    except (SrtError, OSError) as error:
        socket.close()
        raise TargetError(f"could not be called: {error}") from error


class _Ports:
    """Binds all callers to one UDP port per IP version: libsrt runs two threads per port."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ports: dict[int, int] = {}

    def bind(self, socket: SrtSocket, version: int) -> None:
        """Bind a socket to the port that the others use; to a new one when that was released. SrtError."""
        host = "0.0.0.0" if version == 4 else "::"  # noqa: S104  the port of a caller
        if version == 6:
            socket.set(Option.IPV6ONLY, 1)  # libsrt requires it for a wildcard
        with self._lock:
            port = self._ports.get(version, 0)
            try:
                socket.bind(host, port)
            except SrtError:
                if not port:
                    raise
                socket.bind(host, 0)
            self._ports[version] = socket.local_address().port


_ports = _Ports()


def _options(address: SrtAddress, rules: TargetRules) -> CallOptions:
    return CallOptions(
        streamid=address.streamid if address.mode == "caller" else "",
        passphrase=address.passphrase,
        key_length=address.key_length,
        latency=address.latency,
        connect_timeout=rules.call_within,
        paced=False,  # it costs twice the CPU; `flush` spreads large pictures
    )


def _refused(error: SrtRefused) -> TargetError:
    if error.code == Errno.ENOSERVER:
        return TargetError("nobody answered")
    why = _REASONS.get(Reject(error.reason), "") if error.reason in Reject._value2member_map_ else ""
    return TargetError(f"refused: {why or f'reason {error.reason}'}", final=error.reason != Reject.TIMEOUT)


class SrtLine:
    """Sends to one peer; used by the pacer alone."""

    def __init__(self, socket: SrtSocket, clock: Clock) -> None:
        self.queue = Queue()
        self.sent = 0
        self._socket = socket
        self._clock = clock
        self._piece = 0  # how many datagrams of the queue's first block are sent
        self._began: tuple[int, int] | None = None
        self._through_ns = 0  # when the peer has acknowledged all
        socket.set(Option.SNDSYN, 0)
        socket.set(Option.RCVSYN, 0)

    def ready(self) -> str:
        """Return the empty string: the peer takes media."""
        return ""

    def accept(self, tracks: Tracks) -> None:
        """Accept all that MPEG-TS carries: SRT does not know the codecs."""

    def put(self, block: Block, now_ns: int) -> None:
        """Queue a block; the first one starts the programme for this peer."""
        if self._began is None:
            self._began = (block.at, now_ns)
        self.queue.put(block, now_ns)

    def flush(self, now_ns: int) -> None:
        """Send what libsrt takes and whose time has come."""
        if self._began is None:
            return
        at, since = self._began
        many, few = _FLICKS_IN_NS
        until = at + (now_ns - since) * _CATCH_UP * many // few
        blocks = self.queue.blocks
        # A large keyframe sent in one burst would overflow small buffers on the way.
        burst = max(_BURST, self.queue.bytes // LIVE_PAYLOAD // 2)
        try:
            while blocks and blocks[0][0].at <= until:
                block = blocks[0][0]
                room = min(len(block.pieces), self._piece + burst)
                sent = self._socket.offer(block.pieces, self._piece, room)
                self._piece += sent
                burst -= sent
                if self._piece < len(block.pieces):
                    return
                self._piece = 0
                self.sent += len(block.data)
                self.queue.pop()
        except SrtError as error:
            raise TargetError("the connection was lost") from error

    def listen(self, now_ns: int) -> None:  # noqa: ARG002  the signature that all lines have
        """Raise TargetError when the connection has ended."""
        if self._socket.state() != SocketState.CONNECTED:
            raise TargetError("the connection was lost")

    def farewell(self, now_ns: int) -> None:
        """Queue nothing: SRT has no goodbye; what waits is sent, then the connection is closed."""

    def drained(self) -> bool:
        """Return whether the peer has everything and had time to play it: at a close it drops what it still buffers."""
        try:
            if self.queue.blocks or self._socket.get(Option.SNDDATA):
                return False
            held_ns = self._socket.get(Option.PEERLATENCY) * 1_000_000
        except SrtError:
            return True
        self._through_ns = self._through_ns or self._clock.monotonic_ns()
        return self._clock.monotonic_ns() - self._through_ns > held_ns + _MARGIN_NS

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


def await_srt(address: SrtAddress, rules: TargetRules, clock: Clock) -> SrtDoor:
    """Listen on a port of ours; TargetError when that is impossible."""
    try:
        socket = SrtSocket.create(load())
    except SrtUnavailable as error:
        raise TargetError(str(error)) from error
    try:
        prepare(socket, _options(address, rules))
        socket.set(Option.ENFORCEDENCRYPTION, 1)
        socket.set(Option.RCVSYN, 0)
        if ":" in address.host:
            socket.set(Option.IPV6ONLY, 0)
        socket.bind(address.host, address.port)
        return SrtDoor(socket, address, clock)
    except SrtError as error:
        socket.close()
        raise TargetError(f"port {address.port} cannot be listened on: {error}") from error


class SrtDoor:
    """A listening port that serves one caller at a time."""

    def __init__(self, socket: SrtSocket, address: SrtAddress, clock: Clock) -> None:
        self._socket = socket
        self._address = address
        self._clock = clock
        self._guest: SrtLine | None = None
        self._idle = Queue()
        self._gone = 0  # bytes sent to earlier callers
        self._parted = False  # a caller has gone, and `ready` has not reported it yet
        self._callback = ListenCallback(self._judge)  # libsrt holds a bare pointer to it
        socket.listen(1, self._callback)

    @property
    def queue(self) -> Queue:
        """What the caller has not taken yet."""
        return self._idle if self._guest is None else self._guest.queue

    @property
    def sent(self) -> int:
        """The bytes sent to all callers."""
        return self._gone + (0 if self._guest is None else self._guest.sent)

    def _judge(self, _opaque: object, number: int, _version: int, _peer: int, streamid: bytes) -> int:
        """Accept or reject in libsrt's thread: one caller, who must know the stream id if the URL has one."""
        accepted = False
        with CallbackGuard("srt.target.handshake"):
            wanted = self._address.streamid.encode()
            known = not wanted or hmac.compare_digest(streamid or b"", wanted)
            accepted = known and self._guest is None
            if not accepted:
                SrtSocket(load(), number).set_reject_reason(Reject.CONFLICT if known else Reject.FORBIDDEN)
        return 0 if accepted else ERROR

    def ready(self) -> str:
        """Accept a caller who waits; return why nothing can be sent while there is none."""
        if self._parted:
            self._parted = False
            return "the caller has gone"
        while self._guest is None:
            socket = self._socket.accept()
            if socket is None:
                return "nobody has called yet" if not self._gone else "the caller has gone"
            self._welcome(socket)
        return ""

    def _welcome(self, socket: SrtSocket) -> None:
        try:
            self._guest = SrtLine(socket, self._clock)
        except SrtError:  # the caller has gone again
            socket.close()

    def accept(self, tracks: Tracks) -> None:
        """Accept all that MPEG-TS carries."""

    def put(self, block: Block, now_ns: int) -> None:
        """Queue a block for the caller."""
        if self._guest is not None:
            self._guest.put(block, now_ns)

    def flush(self, now_ns: int) -> None:
        """Send what the caller takes; a caller who has gone makes room for the next."""
        self._for_guest(now_ns, sending=True)

    def listen(self, now_ns: int) -> None:
        """Detect that the caller has gone."""
        self._for_guest(now_ns, sending=False)

    def _for_guest(self, now_ns: int, *, sending: bool) -> None:
        guest = self._guest
        if guest is None:
            return
        try:
            if sending:
                guest.flush(now_ns)
            else:
                guest.listen(now_ns)
        except TargetError:
            self._gone += guest.sent
            guest.close()
            self._guest, self._parted = None, True

    def farewell(self, now_ns: int) -> None:
        """Queue nothing: SRT has no goodbye."""

    def drained(self) -> bool:
        """Return whether the caller has everything."""
        return self._guest is None or self._guest.drained()

    def close(self) -> None:
        """Disconnect the caller and release the port."""
        if self._guest is not None:
            self._guest.close()
        self._socket.close()
