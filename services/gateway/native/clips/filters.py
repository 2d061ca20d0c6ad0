"""Filters of the list of clips."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Query

from services.gateway.domain.clips.clips import KnownClip
from services.gateway.domain.errors import invalid
from services.gateway.domain.lists.lists import CLIP_LABEL, CLIP_STATE, CLIP_TYPE
from services.gateway.domain.lists.orders import ALL_TIME, Wanted
from shared.messages.clips import VodState
from shared.messages.destinations import DestinationType

_TIME_HELP = "ms since the epoch: `from`, or `from-to`; either end may be empty"


def _span(name: str, text: str | None) -> tuple[int, int] | None:
    """Parse `from`, `from-to`, `from-` or `-to`; None without a text. Invalid."""
    if text is None:
        return None
    first, dash, last = text.partition("-")
    parts = (first, last)
    if not all(p == "" or (p.isascii() and p.isdigit() and len(p) <= 15) for p in parts) or not any(parts):
        raise invalid(name, f"is not {_TIME_HELP}")
    return int(first or 0), int(last or 10**15) if dash else 10**15


class ClipFilter:
    """The filter parameters of a list of clips; a clip must pass all that are set."""

    def __init__(
        self,
        jvod_state: Annotated[VodState | None, Query()] = None,
        jvod_type: Annotated[DestinationType | Literal["instant"] | None, Query()] = None,
        label: Annotated[str | None, Query(max_length=512)] = None,
        created_at: Annotated[str | None, Query(description=_TIME_HELP)] = None,
        modified_at: Annotated[str | None, Query(description=_TIME_HELP)] = None,
    ) -> None:
        self.state = jvod_state
        self.type = jvod_type
        self.label = label
        self.created = _span("created_at", created_at)
        self.modified = _span("modified_at", modified_at)

    @property
    def wanted(self) -> Wanted:
        """The same filters, for the ordered list."""
        asked = {CLIP_STATE: self.state, CLIP_LABEL: self.label, CLIP_TYPE: self.type}
        facets = {number: value for number, value in asked.items() if value is not None}
        return Wanted(facets, self.created or ALL_TIME, self.modified or ALL_TIME)

    def takes(self, known: KnownClip) -> bool:
        """Return whether a clip passes all filters."""
        return (
            self.state in {None, known.state}
            and self.type in {None, "instant" if known.request.instant else known.request.destinations[0].type}
            and self.label in {None, known.request.label}
            and _within(self.created, known.created_ms)
            and _within(self.modified, known.changed_ms)
        )


def _within(span: tuple[int, int] | None, at_ms: int) -> bool:
    return span is None or span[0] <= at_ms <= span[1]
