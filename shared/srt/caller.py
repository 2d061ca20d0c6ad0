"""The calling side of SRT: how a socket is set up that is going to send MPEG-TS as live messages."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from shared.srt.constants import PASSPHRASE_MAX, PASSPHRASE_MIN, Option
from shared.srt.sockets import SrtSocket


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
