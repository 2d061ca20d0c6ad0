"""Playout as its control sees it: one object a restream, two threads behind it (ADR 14)."""

from __future__ import annotations

from collections.abc import Sequence

from services.restreamer.model import Outputs, TargetSpec
from services.restreamer.playout.terms import Library, Reporter, Snapshot
from shared.clock import Clock
from shared.messages.restreams import Move, Place, RestreamSpec, Source


class Playout:
    """Plays a list of files to outputs. Every call is thread-safe and returns at once.

    `report` is called from playout's threads and must return at once.
    """

    def __init__(self, library: Library, outputs: Outputs, report: Reporter, clock: Clock) -> None:
        raise NotImplementedError

    def start(
        self,
        spec: RestreamSpec,
        targets: Sequence[TargetSpec],
        place: Place | None = None,
        *,
        spec_number: int = 0,
        moved: int = 0,
        paused: bool = False,
    ) -> None:
        """Begin at `place`, or where the list begins. Moves up to number `moved` count as done."""

    def update(self, spec: RestreamSpec, spec_number: int, *, wait_current: bool) -> None:
        """Play another list: at once, or after the file that plays. Its `end_ms` counts from now on."""

    def pause(self) -> None:
        """Send nothing until `unpause`."""

    def unpause(self) -> None:
        """Go on where `pause` stopped."""

    def move(self, move: Move) -> None:
        """Skip or seek; a number that was done already changes nothing."""

    def set_targets(self, targets: Sequence[TargetSpec]) -> None:
        """Send to these targets from now on."""

    def live(self, source: Source | None, *, back: bool = True) -> None:
        """Play a live event from its newest keyframe in place of the list; None: leave it.

        When it ends or is left, the list goes on where it was (`back`), or the playout ends.
        """

    def snapshot(self) -> Snapshot:
        """Tell where it is and how its targets are."""
        raise NotImplementedError

    def stop(self) -> None:
        """End soon: say goodbye to targets, close files. Reports nothing more."""

    def join(self, seconds: float) -> bool:
        """Wait for both threads to end; tell whether they did. Blocks."""
        raise NotImplementedError
