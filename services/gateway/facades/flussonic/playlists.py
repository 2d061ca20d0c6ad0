"""The playlists of the archive URLs: which window each name means, and the query that players carry through."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta
from typing import Final
from urllib.parse import urlencode

from services.gateway.delivery.views import Window
from services.gateway.domain.errors import invalid

LONGEST: Final = timedelta(hours=48)
LATEST: Final = timedelta(days=366)
EARLY: Final = timedelta(minutes=1)
AHEAD: Final = timedelta(seconds=10)
"""How much of what follows the moment is shown at once: players begin some segments before the edge."""
OWN: Final = frozenset({"start", "end", "delay", "back", "utc", "lutc"})
ARCHIVE: Final = re.compile(r"(archive|index|video|mono)-(\d{1,11})-(\d{1,11}|now)", re.ASCII)
REWIND: Final = re.compile(r"rewind-(\d{1,8})", re.ASCII)
SHIFT: Final = re.compile(r"(?:(mono|video)-)?timeshift_(abs|rel)-(\d{1,11})", re.ASCII)
LIVE: Final = ("index", "mono", "video")
_SECOND: Final = timedelta(seconds=1)
_MS: Final = timedelta(milliseconds=1)
_URI: Final = re.compile(r'URI="([^"]+)"')


def archive_window(from_s: int, length: str, now_ms: int) -> Window:
    """Return the window of `archive-{from}-{duration}`, or `archive-{from}-now`; Invalid."""
    if length == "now":
        if timedelta(milliseconds=now_ms - from_s * 1000) > LONGEST:
            raise invalid("from", "a range is at most 48 hours long")
        return Window("range", from_s * 1000)
    if not 1 <= int(length) <= LONGEST // _SECOND:
        raise invalid("duration", "a range is 1 second to 48 hours long")
    return Window("range", from_s * 1000, (from_s + int(length)) * 1000)


def late_window(delay_s: int) -> Window:
    """Return the window of a live playlist that is late; Invalid."""
    if delay_s > LATEST // _SECOND:
        raise invalid("timeshift_rel", "goes back a year at most")
    return Window("shift", delay_ms=delay_s * 1000)


def window_from(at_s: int, now_ms: int) -> Window:
    """Return the window of a live playlist as it was at a moment, from now on; its delay stays in its addresses.

    A moment that is just to come is now: the player's clock goes before ours. Invalid.
    """
    if timedelta(milliseconds=at_s * 1000 - now_ms) > EARLY:
        raise invalid("utc", "lies in the future")
    delay_ms = max(now_ms - at_s * 1000 - AHEAD // _MS, 0)
    return Window("shift", delay_ms=delay_ms) if delay_ms else Window("live")


def rewind_window(back_s: int) -> Window:
    """Return the window of a live playlist that reaches far back; Invalid."""
    if not 1 <= back_s <= LONGEST // _SECOND:
        raise invalid("rewind", "is 1 second to 48 hours")
    return Window("shift", back_ms=back_s * 1000)


def carried(pairs: Iterable[tuple[str, str]]) -> str:
    """Return the query that the addresses in a playlist repeat: the request's own, without what chooses the window."""
    return urlencode([(name, value) for name, value in pairs if name not in OWN])


def with_query(text: str, query: str) -> str:
    """Add a query to each address in a playlist."""
    lines = []
    for line in text.split("\n"):
        if line.startswith("#EXT-X-MAP:"):
            lines.append(_URI.sub(lambda found: f'URI="{_joined(found[1], query)}"', line))
        else:
            lines.append(line if not line or line.startswith("#") else _joined(line, query))
    return "\n".join(lines)


def _joined(uri: str, query: str) -> str:
    return f"{uri}{'&' if '?' in uri else '?'}{query}"
