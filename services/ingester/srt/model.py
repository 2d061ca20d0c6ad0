"""What SRT ingest is asked, what it grants, and its bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from services.ingester.srt.streamid import StreamId
from shared.srt.address import Address
from shared.srt.constants import PACKET_UNIT


@dataclass(frozen=True, slots=True)
class SrtRequest:
    """A caller at the door: its stream id, its address, and the job that it wants. No value shows in a repr."""

    streamid: StreamId
    peer: Address
    event: str = field(default="", repr=False)

    @property
    def raw(self) -> str:
        """The stream id as it came."""
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
    """Leave to publish. `passphrase` None: the caller must not encrypt. `label` names the stream in logs (public).

    `fields` is what every log line of the publisher carries.
    """

    passphrase: str | None = field(default=None, repr=False)
    context: Any = field(default=None, repr=False)
    label: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SrtLimits:
    """Bounds of an SRT listener; the defaults suit live video up to 20 Mbps.

    A caller that sends no data for `silence`, or no packet at all for `vanished`, has ended its stream.
    `answer_within`: what a handshake waits for `authorize`; later answers serve the caller's next try.
    `latency`: the least receiver delay; the larger of it and the caller's own wish holds. In it lost packets are
    asked for again; what still misses afterwards is skipped (SRTO_TLPKTDROP). `buffered`: how long a stream of
    `bitrate` (bits/s) fits the receive buffer: latency, plus the time a reader may be late.
    `drain_interval`: how often a reader takes what has come: every waking costs something, and delays less.
    `in_order`: wait for lost packets for ever instead of skipping them, and deliver at once instead of after the
    latency (SRTO_TSBPDMODE off): nothing is missing and a quarter of the CPU is saved, but callers that insist on timed
    delivery (gosrt) refuse to connect.
    `refusals`: how often a stream id may be refused that is asked for from one network (an IPv4 address, a /64 of
    IPv6), and `guesses`: how often a wrong passphrase may be tried there for it, before it has to wait for
    `..._regained` each time; other stream ids do not wait with it. `pending_each`: callers of one id and network on
    their way in at once. `told`: refusals of a network that are logged, and one more each `told_again`.
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
        """Packets of MPEG-TS (1316 bytes) that the receive buffer and the flight window hold."""
        return max(8192, self.bitrate * (self.buffered // timedelta(milliseconds=1)) // (8 * 1000 * 1316))

    @property
    def buffer_bytes(self) -> int:
        """SRTO_RCVBUF: libsrt divides it by the packet unit."""
        return self.buffer_packets * PACKET_UNIT
