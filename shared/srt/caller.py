"""The calling side of SRT: connect to a listener and send MPEG-TS as live messages."""

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
    """How to call. `latency` is what both sides then use at least.

    `paced`: libsrt spreads datagrams over time, at the rate of what is sent and `overhead` % for resending, which
    wakes a thread for each; otherwise they go out as they are given.
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
    """Whole milliseconds of a duration, as libsrt counts."""
    return duration // timedelta(milliseconds=1)


def check_passphrase(passphrase: str) -> bytes:
    """Return the passphrase as libsrt takes it; ValueError unless it has 10 to 79 bytes (SRTO_PASSPHRASE)."""
    raw = passphrase.encode()
    if not PASSPHRASE_MIN <= len(raw) <= PASSPHRASE_MAX:
        raise ValueError(f"an SRT passphrase has {PASSPHRASE_MIN} to {PASSPHRASE_MAX} characters, not {len(raw)}")
    return raw


def prepare(socket: SrtSocket, options: CallOptions) -> None:
    """Set up a socket that is going to send; SrtError, ValueError for a bad passphrase."""
    socket.set(Option.RCVLATENCY, ms(options.latency))
    socket.set(Option.PEERLATENCY, ms(options.latency))
    socket.set(Option.CONNTIMEO, ms(options.connect_timeout))
    socket.set(Option.SNDTIMEO, ms(options.send_timeout))
    # 0: the rate is that of what is sent, plus the overhead: a burst of resending stays within bounds. -1: any.
    socket.set(Option.MAXBW, 0 if options.paced else -1)
    socket.set(Option.OHEADBW, options.overhead)
    if options.streamid:
        socket.set(Option.STREAMID, options.streamid.encode())
    if options.passphrase is not None:
        socket.set(Option.PBKEYLEN, options.key_length)
        socket.set(Option.PASSPHRASE, check_passphrase(options.passphrase))


class SrtCaller:
    """A connection to a listener that bytes are sent to; one thread sends, any may close."""

    def __init__(self, host: str, port: int, options: CallOptions | None = None) -> None:
        """Connect; SrtRefused with the listener's reason, SrtUnavailable, OSError for an unknown name."""
        options = options or CallOptions()
        self._socket = SrtSocket.create(load())
        try:
            prepare(self._socket, options)
            self._socket.connect(host, port)
        except BaseException:
            self._socket.close()
            raise

    def send(self, data: bytes) -> None:
        """Send bytes in messages of seven MPEG-TS packets; SrtError when the connection is gone or stuck."""
        for start in range(0, len(data), LIVE_PAYLOAD):
            self._socket.send(data[start : start + LIVE_PAYLOAD])

    def flush(self, timeout: timedelta) -> bool:
        """Wait until the listener has everything sent so far; False when the time or the connection ended first."""
        with suppress(SrtError):
            for _ in range(timeout // _FLUSH_STEP + 1):
                if self._socket.get(Option.SNDDATA) == 0:
                    return True
                time.sleep(_FLUSH_STEP / timedelta(seconds=1))
        return False

    def stats(self) -> SrtStats:
        """Totals of the connection; SrtError once it has gone."""
        return self._socket.stats()

    def close(self) -> None:
        """Disconnect at once; what is not sent yet is lost (see `flush`)."""
        self._socket.close()

    def __enter__(self) -> Self:
        """Use as a context that disconnects at its end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Disconnect."""
        self.close()
