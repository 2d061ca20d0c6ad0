"""The hard limits of the RTMP server; each size, count and wait of a connection has one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

KIB = 1024
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class RtmpLimits:
    """Sizes in bytes, counts, and durations. The defaults suit encoders from phones to 100 Mbps contribution."""

    connections: int = 512
    """Simultaneous connections; one more is closed immediately."""
    unpublished: int = 256
    """Connections that do not publish yet; beyond it, the oldest one of the busiest network is closed."""
    unpublished_each: int = 64
    """Connections of one network (an IPv4 address, an IPv6 /64) that do not publish yet."""
    handshake: timedelta = timedelta(seconds=5)
    """From accept to the end of the handshake, including TLS."""
    setup: timedelta = timedelta(seconds=10)
    """From accept to publish, without the time that `authorize` takes."""
    setup_bytes: int = 64 * KIB
    """What a peer may send before it publishes."""
    silence: timedelta = timedelta(seconds=10)
    """How long a publisher may send no complete media message before its stream ends."""
    linger: timedelta = timedelta(seconds=1)
    """How long a close waits for the peer to read the last answer."""
    explain: timedelta = timedelta(seconds=10)
    """The same for a refusal after the stream has started: encoders read answers only at their next write."""
    part: timedelta = timedelta(milliseconds=500)
    """How long received bytes may stay unread."""
    low_water: int = 64 * KIB
    """The most bytes that one read waits for (SO_RCVLOWAT)."""
    message: int = 16 * MIB
    """One message of a publisher, a video frame for example."""
    unfinished: int = 32 * MIB
    """All unfinished messages of a connection together."""
    chunk_streams: int = 64
    """Chunk streams of a connection."""
    setup_unfinished: int = 32 * KIB
    """One message, and all unfinished ones together, before publish."""
    other_rate: int = 64 * KIB
    """Bytes a second of non-media messages from a publisher; each message counts 16 bytes more."""
    other_burst: int = 1 * MIB
    """The burst that `other_rate` allows."""
    outbox: int = 64 * KIB
    """Answers that the peer has not read yet."""
    amf_depth: int = 16
    """Nesting of AMF values."""
    amf_values: int = 1024
    """AMF values in one message."""
    track_wait: timedelta = timedelta(seconds=1)
    """How long a first track waits for the other one, unless the metadata announces none."""
    track_wait_bytes: int = 4 * MIB
    """How much media is held during `track_wait`."""
    runs: int = 1000
    """Changes of codec or codec parameters in one publication."""
    data: int = 64 * KIB
    """One data message (metadata, timed data); a larger one is ignored."""
    events: int = 128
    """Timed data messages kept until they are taken; the oldest are dropped first."""
