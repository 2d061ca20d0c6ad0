"""What targets may reach, and how patient we are with them."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import timedelta

from shared.security.netguard.addresses import Networks
from shared.security.netguard.blocking import BlockingLookup

NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class TargetRules:
    """The defaults suit the open net."""

    allowed: Networks = ()
    """Networks that may be reached besides public addresses."""
    srt_ports: tuple[range, ...] = ()
    """Ports on which SRT targets may wait for callers."""
    tls: ssl.SSLContext | None = None
    """For RTMPS; None: the system's authorities."""
    lookup: BlockingLookup | None = None
    """Asks for addresses of a name; None: the system."""
    call_within: timedelta = timedelta(seconds=10)
    """From the call to the answer that publishing may begin."""
    stuck_after: timedelta = timedelta(seconds=10)
    """Longer nothing waits: the connection is given up."""
    queue_bytes: int = 16 << 20
    """More does not wait: the connection is given up."""
    quick: timedelta = timedelta(seconds=1)
    """Pause between a target's first calls."""
    shortest: timedelta = timedelta(seconds=2)
    """First of the pauses after these; each is twice the one before."""
    longest: timedelta = timedelta(seconds=60)
    """The last of them, which stays."""
    steady: timedelta = timedelta(seconds=10)
    """Who was live for so long is called quickly again."""
    farewell: timedelta = timedelta(seconds=1)
    """How long a goodbye may take."""
    shown_removed: timedelta = timedelta(seconds=60)
    """How long a target that was removed is still told of."""
