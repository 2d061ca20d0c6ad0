"""Where a clip is, as receivers are told it: what the API shows as its type and URL."""

from __future__ import annotations

from shared.messages.clips import ClipEvent
from shared.messages.destinations import DestinationType


def kind_and_url(event: ClipEvent, server: str) -> tuple[DestinationType, str | None]:
    """Return the type and URL of a clip's first destination; of the library, the download here once there is a file."""
    first = event.deliveries[0] if event.deliveries else None
    if first is not None and first.type != "library":
        return first.type, first.shown or None
    return "library", f"{server}/v1/vods/{event.clip}/media.mp4" if event.file else None
