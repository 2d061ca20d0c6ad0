"""The SRT caller: connects to a listener and sends MPEG-TS as live messages."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from shared.srt.constants import PASSPHRASE_MAX, PASSPHRASE_MIN, Option
from shared.srt.sockets import SrtSocket


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
