"""How far a clip is, in percent, by its record and by what its destinations have taken."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from services.gateway.domain.clips.clips import ENDED, KnownClip

FAST: Final = 10
EXACT: Final = 90
_NOTHING: Final[Mapping[str, int]] = MappingProxyType({})


def percent_of(known: KnownClip, sent: Mapping[str, int] = _NOTHING) -> int | None:
    """Return the percentage; None before a clipper has begun. `sent` has the bytes that destinations have taken."""
    record = known.record
    if record is None or record.state in {"waiting", "waiting_finish_live"}:
        return None
    if record.state == "finished":
        return 100
    file = record.file
    if file is None or file.accuracy != "frame":
        return max(record.progress, FAST if file else 0)
    if record.state in ENDED or not record.deliveries or not file.bytes:
        return EXACT
    taken = [
        1.0 if line.state == "delivered" and line.accuracy == "frame" else min(sent.get(line.export, 0) / file.bytes, 1)
        for line in record.deliveries
    ]
    return EXACT + int((99 - EXACT) * sum(taken) / len(taken))
