"""What targets may reach, and their timeouts and limits."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import timedelta

from shared.security.netguard.addresses import Networks
from shared.security.netguard.blocking import BlockingLookup

NS = 1_000_000_000


def ns(duration: timedelta) -> int:
    """Convert a duration to nanoseconds."""
    return duration // timedelta(microseconds=1) * 1000


@dataclass(frozen=True, slots=True)
class TargetRules:
    """Limits for targets; the defaults suit the public internet."""

    allowed: Networks = ()
    """Networks that may be reached besides public addresses."""
    srt_ports: tuple[range, ...] = ()
    """Ports on which SRT targets may wait for callers."""
    tls: ssl.SSLContext | None = None
    """For RTMPS; None: the system's authorities."""
    lookup: BlockingLookup | None = None
    """Resolves names to addresses; None: the system."""
    call_within: timedelta = timedelta(seconds=10)
    """The timeout from connecting to the answer that publishing may start."""
    stuck_after: timedelta = timedelta(seconds=10)
    """A connection whose data waits longer is closed."""
    queue_bytes: int = 16 << 20
    """A connection for which more bytes wait is closed."""
    quick: timedelta = timedelta(seconds=1)
    """Pause between a target's first attempts to connect."""
    shortest: timedelta = timedelta(seconds=2)
    """First of the pauses after these; each is twice the one before."""
    longest: timedelta = timedelta(seconds=60)
    """The longest pause, which all later ones have."""
    steady: timedelta = timedelta(seconds=10)
    """A target that was live this long is reconnected quickly again."""
    farewell: timedelta = timedelta(seconds=1)
    """How long a goodbye may take."""
    shown_removed: timedelta = timedelta(seconds=60)
    """How long a target that was removed is still listed."""
