"""Admission of callers, decided inside libsrt's handshake, on libsrt's own thread.

libsrt calls before it answers a caller's handshake. An accepted caller still has to prove that it has the
passphrase; when it cannot, libsrt refuses it without a callback, and its entry here is never collected.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from services.ingester.forms import Wish, plain, wish
from services.ingester.refusals import PublishRefused, Why
from services.ingester.srt.answers import AnswerLate, Answers, Authorize
from services.ingester.srt.model import SrtGrant, SrtLimits, SrtRequest
from services.ingester.srt.streamid import StreamId, parse
from shared.runtime.clock import Clock, to_ns
from shared.runtime.logging import get_logger
from shared.security.peers import Budget, network_of
from shared.srt.address import Address
from shared.srt.caller import check_passphrase
from shared.srt.constants import Option, Reject, SocketState
from shared.srt.sockets import SrtSocket
from shared.store import StoreFull

log = get_logger()

REASONS: Final[Mapping[Why, Reject]] = {
    "no_key": Reject.BAD_REQUEST,
    "ambiguous": Reject.BAD_REQUEST,
    "unknown": Reject.NOT_FOUND,
    "over": Reject.FORBIDDEN,
    "taken": Reject.CONFLICT,
    "denied": Reject.FORBIDDEN,
    "disk_full": Reject.NO_ROOM,
    "later": Reject.DOWN,
    "unsupported": Reject.UNSUPPORTED_MEDIA,
}
_COLLECT_WITHIN: Final = timedelta(seconds=3)  # ample: the handshake ends in the call that asks us
_FAULTS: Final = frozenset({"stream_id", "mode", "no_key", "ambiguous", "unknown", "over", "denied"})
"""Refusals caused by the caller; others do not count against it."""
Known = Callable[[SrtRequest], bool]
Who = tuple[str, bytes]
"""The key of the counts: a network and the requested stream id, so that callers behind one NAT are separate."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A caller with a grant that is not connected yet."""

    socket: SrtSocket
    request: SrtRequest
    grant: SrtGrant
    since_ns: int
    who: Who


class _Refused(Exception):  # noqa: N818  names what happened; never leaves this module
    def __init__(self, reason: Reject, why: str) -> None:
        super().__init__(why)
        self.reason = reason
        self.why = why


def _read(raw: bytes) -> tuple[StreamId, Wish]:
    try:
        text = plain(raw.decode())
        return parse(text), wish(text)
    except ValueError as error:  # includes UnicodeDecodeError
        raise _Refused(Reject.BAD_REQUEST, "stream_id") from error


class Gate:
    """Admits or refuses callers, and keeps the granted ones until they are collected or have failed."""

    def __init__(
        self, authorize: Authorize, limits: SrtLimits, clock: Clock, room: Callable[[], bool], known: Known
    ) -> None:
        # Callers that can be answered from memory do not wait for those that need a broker request.
        self._answers = {at_once: Answers(authorize, limits.answer_within, clock) for at_once in (True, False)}
        self._known = known
        self._limits = limits
        self._clock = clock
        self._room = room
        self._refusals = Budget(limits.refusals, limits.refusals_regained, clock)
        self._guesses = Budget(limits.guesses, limits.guesses_regained, clock)
        self._told = Budget(limits.told, limits.told_again, clock)
        self._pending: dict[int, Pending] = {}
        self._lock = threading.Lock()

    @property
    def waiting(self) -> int:
        """The number of granted callers that are not connected yet."""
        return len(self._pending)

    def judge(self, socket: SrtSocket, peer: Address, raw: bytes) -> bool:
        """Return whether the handshake of `socket` may continue; sets its passphrase or its reject reason."""
        socket.set_reject_reason(Reject.INTERNAL)  # sent to the caller if anything below raises
        who = (network_of(peer.host), raw)
        if self._refusals.spent(who) or self._guesses.spent(who):
            socket.set_reject_reason(Reject.OVERLOAD)
            return False
        streamid: StreamId | None = None
        fields: Mapping[str, str] = {}
        try:
            streamid, asked = _read(raw)
            self._admit(socket, SrtRequest(streamid, peer, asked.event, asked.broadcast), asked.mode, who)
        except _Refused as refused:
            reason, why = refused.reason, refused.why
        except PublishRefused as error:
            reason, why, fields = REASONS[error.why], error.why, error.fields
        except StoreFull:
            reason, why = Reject.NO_ROOM, "disk_full"
        except AnswerLate:
            reason, why = Reject.DOWN, "answer_late"
        else:
            return True
        socket.set_reject_reason(reason)
        self._refused(who, peer, why, streamid, fields)
        return False

    def _admit(self, socket: SrtSocket, request: SrtRequest, mode: str, who: Who) -> None:
        """Grant a caller's request, or raise one of the refusals that `judge` handles."""
        if mode != "publish":
            raise _Refused(Reject.BAD_MODE, "mode")
        if not self._room() or self.waiting >= self._limits.max_pending:
            raise _Refused(Reject.OVERLOAD, "full")
        with self._lock:
            on_their_way = sum(entry.who == who for entry in self._pending.values())
        if on_their_way >= self._limits.pending_each:
            raise _Refused(Reject.OVERLOAD, "full")
        grant = self._answers[self._known(request)].ask(request)
        if grant is None:
            raise _Refused(Reject.FORBIDDEN, "unknown")
        if grant.passphrase is not None:
            socket.set(Option.PBKEYLEN, self._limits.key_length)
            socket.set(Option.PASSPHRASE, check_passphrase(grant.passphrase))
        with self._lock:
            self._pending[socket.number] = Pending(socket, request, grant, self._clock.monotonic_ns(), who)

    def close(self) -> None:
        """Stop authorizing callers."""
        for answers in self._answers.values():
            answers.close()

    def collect(self, number: int) -> Pending | None:
        """Remove and return the entry of a socket that is now connected."""
        with self._lock:
            return self._pending.pop(number, None)

    def sweep(self) -> None:
        """Drop granted callers that never connected: they lacked the passphrase, or have gone."""
        oldest = self._clock.monotonic_ns() - to_ns(_COLLECT_WITHIN)
        with self._lock:
            gone = [
                number
                for number, entry in self._pending.items()
                if entry.since_ns < oldest or entry.socket.state() > SocketState.CONNECTED
            ]
            failed = [self._pending.pop(number) for number in gone]
        for entry in failed:
            self._refused(entry.who, entry.request.peer, "passphrase", entry.request.streamid, entry.grant.fields)

    def _refused(self, who: Who, peer: Address, why: str, streamid: StreamId | None, fields: Mapping[str, str]) -> None:
        last = why in _FAULTS and self._refusals.charge(who)
        last |= why == "passphrase" and self._guesses.charge(who)
        stream = streamid.fingerprint if streamid else ""
        if self._told.take(who[0]):
            log.warning("srt.publish.refused", peer=str(peer), reason=why, stream=stream, **fields)
            if last:
                log.warning("srt.peer.throttled", host=peer.host, stream=stream)
