"""SRT ingest's requests, grants and limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from services.ingester.broadcasts import Broadcast
from services.ingester.srt.streamid import StreamId
from shared.srt.address import Address
from shared.srt.constants import PACKET_UNIT


@dataclass(frozen=True, slots=True)
class SrtRequest:
    """A caller's request: its stream id, its address, and the job's id or an entry. The repr shows no key or id."""

    streamid: StreamId
    peer: Address
    event: str = field(default="", repr=False)
    broadcast: Broadcast | None = None

    @property
    def raw(self) -> str:
        """The stream id as received."""
        return self.streamid.raw

    @property
    def keys(self) -> Mapping[str, str]:
        """The keys of `#!::key=value,...`; empty for a plain name."""
        return self.streamid.keys

    @property
    def resource(self) -> str:
        """The key r, or the whole plain name."""
        return self.streamid.resource


@dataclass(frozen=True, slots=True)
class SrtGrant:
    """Permission to publish. `passphrase` None: the caller must not encrypt. `label` is the stream's public log name.

    `fields` are added to every log line of the publisher.
    """

    passphrase: str | None = field(default=None, repr=False)
    context: Any = field(default=None, repr=False)
    label: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SrtLimits:
    """Limits of an SRT listener; the defaults suit live video up to 20 Mbps.

    The stream of a caller that sends no data for `silence`, or no packet at all for `vanished`, ends.
    `answer_within`: how long a handshake waits for `authorize`; later answers are kept for the caller's next try.
    `latency`: the minimum receiver delay; the larger of it and the caller's value applies. Lost packets are
    retransmitted within it; packets still missing afterwards are skipped (SRTO_TLPKTDROP). `buffered`: the duration of
    a stream of `bitrate` (bits/s) that fits the receive buffer: latency, plus the time a reader may be late.
    `drain_interval`: how often a reader takes the received data: shorter means less delay and more CPU.
    `in_order`: wait for lost packets without limit instead of skipping them, and deliver at once instead of after the
    latency (SRTO_TSBPDMODE off): nothing is missing and a quarter of the CPU is saved, but callers that require timed
    delivery (gosrt) refuse to connect.
    `refusals`: how often one stream id may be refused to one network (an IPv4 address, an IPv6 /64), and `guesses`:
    how often a wrong passphrase may be tried there for it, before each further try has to wait for `..._regained`;
    other stream ids are not affected. `pending_each`: simultaneously connecting callers of one id and network.
    `told`: how many refusals of a network are logged, and one more each `told_again`.
    """

    max_publications: int = 200
    max_pending: int = 64
    silence: timedelta = timedelta(seconds=10)
    vanished: timedelta = timedelta(seconds=5)
    answer_within: timedelta = timedelta(milliseconds=250)
    latency: timedelta = timedelta(milliseconds=120)
    buffered: timedelta = timedelta(seconds=10)
    bitrate: int = 20_000_000
    drain_interval: timedelta = timedelta(milliseconds=400)
    key_length: int = 16
    in_order: bool = False
    pending_each: int = 4
    refusals: int = 20
    refusals_regained: timedelta = timedelta(milliseconds=200)
    guesses: int = 100
    guesses_regained: timedelta = timedelta(milliseconds=20)
    told: int = 50
    told_again: timedelta = timedelta(seconds=1)

    @property
    def buffer_packets(self) -> int:
        """The packets (1316 bytes of MPEG-TS) that the receive buffer and the flight window hold."""
        return max(8192, self.bitrate * (self.buffered // timedelta(milliseconds=1)) // (8 * 1000 * 1316))

    @property
    def buffer_bytes(self) -> int:
        """SRTO_RCVBUF: libsrt divides it by the packet unit."""
        return self.buffer_packets * PACKET_UNIT
