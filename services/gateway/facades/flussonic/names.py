"""Names of streams: what they may be, so that their addresses are nobody else's."""

from __future__ import annotations

import re
from typing import Final

from services.gateway.domain.errors import invalid, no_such

LONGEST: Final = 200
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.~@+-]*(/[A-Za-z0-9_][A-Za-z0-9_.~@+-]*)*")
HEADS: Final = frozenset({
    "v1", "v2", "play", "api", "streamer", "flussonic", "healthz", "readyz", "metrics", "console", "static", "assets",
    "docs", "admin", "iweb", "api_v3", "p", "vod", "favicon.ico", "robots.txt",
})  # fmt: skip
"""First parts of the gateway's other addresses, present and to come."""
_TAILS: Final = ("stop", "dvr/ranges", "dvr/locks", "dvr/export")
"""What follows a name in the addresses of the streamer API."""


def is_name(text: str) -> bool:
    """Return whether a stream may have this name."""
    return (
        len(text) <= LONGEST
        and _NAME.fullmatch(text) is not None
        and text.split("/", 1)[0].lower() not in HEADS
        and not any(text == tail or text.endswith(f"/{tail}") for tail in _TAILS)
    )


def new_name(text: str) -> str:
    """Return the name of a stream that is to be made; Invalid."""
    if not is_name(text):
        raise invalid(
            "name",
            f"must be 1 to {LONGEST} letters, digits and _ . - ~ @ + in parts between slashes, "
            "and neither begin nor end as the server's own addresses do",
        )
    return text


def known_name(text: str) -> str:
    """Return a name that a stream may have; NotFound for others."""
    if not is_name(text):
        raise no_such("stream")
    return text
