"""The hard limits of the RTMP server; every size, count and wait of a connection is bounded by one of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

KIB = 1024
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class RtmpLimits:
    """Sizes in bytes, counts, and durations. The defaults suit encoders from phones to 100 Mbps contribution."""

    connections: int = 512
    """All connections at once; one more is closed at once."""
    unpublished: int = 256
    """Connections that do not publish yet; past it the oldest of the busiest network makes room."""
    unpublished_each: int = 64
    """Of these, in one network: an IPv4 address, a /64 of IPv6."""
    handshake: timedelta = timedelta(seconds=5)
    """From accept to the end of the handshake, that of TLS included."""
    setup: timedelta = timedelta(seconds=10)
    """From accept to publish, without the time that `authorize` takes."""
    setup_bytes: int = 64 * KIB
    """What a peer may send before it publishes."""
    silence: timedelta = timedelta(seconds=10)
    """A publisher without a whole media message for so long has gone: its stream ends."""
    linger: timedelta = timedelta(seconds=1)
    """How long a close waits for the peer to read the last answer."""
    explain: timedelta = timedelta(seconds=10)
    """How long it waits when a stream is refused that had begun: encoders read with their next write alone."""
    part: timedelta = timedelta(milliseconds=500)
    """Received bytes are never left unread for longer."""
    low_water: int = 64 * KIB
    """At most so many bytes are waited for at once (SO_RCVLOWAT)."""
    message: int = 16 * MIB
    """One message of a publisher, a video frame for example."""
    unfinished: int = 32 * MIB
    """All messages of a connection that have begun and not ended, together."""
    chunk_streams: int = 64
    """Chunk streams of a connection."""
    setup_unfinished: int = 32 * KIB
    """One message, and all unfinished ones together, before publish."""
    other_rate: int = 64 * KIB
    """Bytes a second that a publisher may spend on what is not media, each message counted with 16 more."""
    other_burst: int = 1 * MIB
    """What of `other_rate` may be saved up."""
    outbox: int = 64 * KIB
    """Answers that the peer has not read yet."""
    amf_depth: int = 16
    """Nesting of AMF values."""
    amf_values: int = 1024
    """AMF values in one message."""
    track_wait: timedelta = timedelta(seconds=1)
    """How long a first track waits for the other one to appear, unless the metadata says that there is none."""
    track_wait_bytes: int = 4 * MIB
    """How much media is held meanwhile."""
    runs: int = 1000
    """Changes of codec or codec parameters in one publication."""
    data: int = 64 * KIB
    """One data message (metadata, timed data); a larger one is left out."""
    events: int = 128
    """Timed data messages kept until they are taken; the oldest go first."""
