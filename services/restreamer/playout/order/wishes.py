"""What the controller asks of the reader."""

from __future__ import annotations

from dataclasses import dataclass

from services.restreamer.playout.order.ahead import Listing
from shared.messages.restreams import Move, Source


@dataclass(frozen=True, slots=True)
class NewList:
    """Play another list, at once or after the file that plays."""

    listing: Listing
    wait_current: bool


@dataclass(frozen=True, slots=True)
class Jump:
    """Skip or seek."""

    move: Move


@dataclass(frozen=True, slots=True)
class Insert:
    """Play a live event, or leave it (None)."""

    source: Source | None
    back: bool


Wish = NewList | Jump | Insert
