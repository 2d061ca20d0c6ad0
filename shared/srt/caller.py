"""The SRT caller: connects to a listener and sends MPEG-TS as live messages."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Self

from shared.srt.constants import LIVE_PAYLOAD, PASSPHRASE_MAX, PASSPHRASE_MIN, Option
from shared.srt.errors import SrtError
from shared.srt.library import load
from shared.srt.sockets import SrtSocket
from shared.srt.stats import SrtStats

_FLUSH_STEP: Final = timedelta(milliseconds=10)


@dataclass(frozen=True, slots=True)
class CallOptions:
    """How to call. `latency` is the minimum for both sides.

    `paced`: libsrt spreads datagrams over time, at the input rate plus `overhead` % for retransmission, which wakes a
    thread for each datagram; otherwise they are sent at once.
    """

    streamid: str = field(default="", repr=False)
    passphrase: str | None = field(default=None, repr=False)
    key_length: int = 16
    latency: timedelta = timedelta(milliseconds=120)
    connect_timeout: timedelta = timedelta(seconds=3)
    send_timeout: timedelta = timedelta(seconds=10)
    paced: bool = True
    overhead: int = 25


def ms(duration: timedelta) -> int:
    """Return the whole milliseconds of a duration, the unit of libsrt."""
    return duration // timedelta(milliseconds=1)


def check_passphrase(passphrase: str) -> bytes:
    """Return the passphrase as bytes for libsrt; raise ValueError unless it has 10 to 79 bytes (SRTO_PASSPHRASE)."""
    raw = passphrase.encode()
    if not PASSPHRASE_MIN <= len(raw) <= PASSPHRASE_MAX:
        raise ValueError(f"an SRT passphrase has {PASSPHRASE_MIN} to {PASSPHRASE_MAX} characters, not {len(raw)}")
    return raw


def prepare(socket: SrtSocket, options: CallOptions) -> None:
    """Set the options of a sending socket; raise SrtError, ValueError for a bad passphrase."""
    socket.set(Option.RCVLATENCY, ms(options.latency))
    socket.set(Option.PEERLATENCY, ms(options.latency))
    socket.set(Option.CONNTIMEO, ms(options.connect_timeout))
    socket.set(Option.SNDTIMEO, ms(options.send_timeout))
    # 0: the input rate plus the overhead, so that a burst of retransmission stays within bounds. -1: no limit.
    socket.set(Option.MAXBW, 0 if options.paced else -1)
    socket.set(Option.OHEADBW, options.overhead)
    if options.streamid:
        socket.set(Option.STREAMID, options.streamid.encode())
    if options.passphrase is not None:
        socket.set(Option.PBKEYLEN, options.key_length)
        socket.set(Option.PASSPHRASE, check_passphrase(options.passphrase))


class SrtCaller:
    """A connection that sends bytes to a listener; one thread sends, any may close."""

    def __init__(self, host: str, port: int, options: CallOptions | None = None) -> None:
        """Connect; raise SrtRefused with the listener's reason, SrtUnavailable, OSError for an unknown name."""
        options = options or CallOptions()
        self._socket = SrtSocket.create(load())
        try:
            prepare(self._socket, options)
            self._socket.connect(host, port)
        except BaseException:
            self._socket.close()
            raise

    def send(self, data: bytes) -> None:
        """Send bytes in messages of seven MPEG-TS packets; raise SrtError when the connection is gone or stuck."""
        for start in range(0, len(data), LIVE_PAYLOAD):
            self._socket.send(data[start : start + LIVE_PAYLOAD])

    def flush(self, timeout: timedelta) -> bool:
        """Wait until the listener has everything sent so far; return False on timeout or a lost connection."""
        with suppress(SrtError):
            for _ in range(timeout // _FLUSH_STEP + 1):
                if self._socket.get(Option.SNDDATA) == 0:
                    return True
                time.sleep(_FLUSH_STEP / timedelta(seconds=1))
        return False

    def stats(self) -> SrtStats:
        """Return the connection's totals; raise SrtError once it is gone."""
        return self._socket.stats()

    def close(self) -> None:
        """Disconnect at once; unsent data is lost (see `flush`)."""
        self._socket.close()

    def __enter__(self) -> Self:
        """Return this caller, which disconnects when the block ends."""
        return self

    def __exit__(self, *_: object) -> None:
        """Disconnect."""
        self.close()
