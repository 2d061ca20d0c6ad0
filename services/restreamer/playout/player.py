"""The playout of one restream, as its controller uses it. One thread reads; one sends for all restreams (ADR 14)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from threading import RLock

from services.restreamer.model import FLICKS, Outputs, TargetSpec
from services.restreamer.playout.order.ahead import Listing
from services.restreamer.playout.order.course import Course
from services.restreamer.playout.order.programme import Programme
from services.restreamer.playout.order.wishes import Insert, Jump, NewList
from services.restreamer.playout.reading.reader import Reader
from services.restreamer.playout.reading.verdict import formats_of
from services.restreamer.playout.sending.pacer import Pacer
from services.restreamer.playout.sending.ring import Bounds, Ring
from services.restreamer.playout.terms import Ended, Library, Notes, Report, Reporter, Snapshot
from shared.messages.restreams import Move, PlaylistCursor, RestreamSpec, Source
from shared.runtime.clock import Clock


@dataclass(frozen=True, slots=True)
class Settings:
    """How far to read ahead, and the first pause after a whole list of failures; it doubles up to a minute."""

    bounds: Bounds = field(default_factory=Bounds)
    first_pause: timedelta = timedelta(seconds=1)


class Playout:
    """Plays a list of files to outputs. Every call is thread-safe and returns at once.

    `report` is called from playout's threads and must return at once.
    """

    def __init__(
        self, library: Library, outputs: Outputs, report: Reporter, clock: Clock, settings: Settings | None = None,
        notes: Notes | None = None,
    ) -> None:  # fmt: skip
        self._library, self._report_to = library, report
        self._settings = settings or Settings()
        self._ring = Ring(self._settings.bounds, outputs.prepare)
        self._pacer = Pacer(self._ring, outputs, self._report, clock, self._dry, notes=notes)
        self._reader: Reader | None = None
        self._begin = PlaylistCursor()
        self._spec_number = self._moved = 0
        self._telling = RLock()
        self._silent = False

    def start(
        self,
        spec: RestreamSpec,
        targets: Sequence[TargetSpec],
        cursor: PlaylistCursor | None = None,
        *,
        spec_number: int = 0,
        moved: int = 0,
        paused: bool = False,
    ) -> None:
        """Start at `cursor`, or at the list's beginning. Moves up to number `moved` count as done."""
        listing = Listing(Programme.of(spec), spec_number, spec.encoding)
        self._begin, self._spec_number, self._moved = listing.programme.known(cursor), spec_number, moved
        course = Course(self._library, self._report, self._opened, listing, moved, self._settings.first_pause)
        reader = Reader(course, self._ring, self._report, formats_of(target.url for target in targets))
        self._reader = reader
        self._pacer.end_ms, self._pacer.paused = spec.end_ms, paused
        self._pacer.set_targets(targets)
        reader.start(self._begin)
        self._pacer.start()

    def update(self, spec: RestreamSpec, spec_number: int, *, wait_current: bool) -> None:
        """Play another list: at once, or after the file that plays. Its `end_ms` counts from now on."""
        self._pacer.end_ms = spec.end_ms
        if self._reader is not None:
            listing = Listing(Programme.of(spec), spec_number, spec.encoding)
            self._reader.wish(NewList(listing, wait_current))

    def pause(self) -> None:
        """Send nothing until `unpause`."""
        self._pacer.paused = True

    def unpause(self) -> None:
        """Go on where `pause` stopped."""
        self._pacer.paused = False

    def move(self, move: Move) -> None:
        """Skip or seek; a move whose number was done already changes nothing."""
        if self._reader is not None:
            self._reader.wish(Jump(move))

    def set_targets(self, targets: Sequence[TargetSpec]) -> None:
        """Send to these targets from now on."""
        self._pacer.set_targets(targets)
        if self._reader is not None:
            self._reader.takes = formats_of(target.url for target in targets)

    def live(self, source: Source | None, *, back: bool = True) -> None:
        """Play a live event from its newest keyframe in place of the list; None: leave it.

        When it ends or is left, the list goes on where it was (`back`), or the playout ends.
        """
        if self._reader is not None:
            self._reader.wish(Insert(source, back))

    def snapshot(self) -> Snapshot:
        """Return the position and the targets' states."""
        view, sent = self._pacer.view, self._ring.sent
        part = sent.video.part if sent.video is not None else None
        played = max(view.sent, 0) * 1000 // FLICKS
        if part is None:
            return Snapshot(
                self._begin, self._spec_number, self._moved, paused=self._pacer.paused, ended=view.ended,
                targets=view.targets,
            )  # fmt: skip
        return Snapshot(
            sent.cursor or part.cursor, part.spec_number, part.moved, played,
            part.item.source.shown if part.item else "",
            part.how, part.live, self._pacer.paused, view.ended, view.targets,
        )  # fmt: skip

    def stop(self) -> None:
        """Ask both threads to end: they leave the targets and close files. Reports nothing more."""
        with self._telling:
            self._silent = True
        self._pacer.stop()
        if self._reader is not None:
            self._reader.stop()

    def join(self, within: timedelta) -> bool:
        """Wait for both threads to end; return whether they did. Blocks."""
        ended = self._pacer.join(within)
        return (self._reader is None or self._reader.join(within)) and ended

    def _dry(self, now: int) -> None:
        if self._reader is not None:
            self._reader.hurry(now)

    def _opened(self) -> None:
        if self._reader is not None:
            self._reader.opened()

    def _report(self, report: Report) -> None:
        """Pass a report on, but nothing after Ended."""
        with self._telling:
            if self._silent:
                return
            self._silent = isinstance(report, Ended)
            self._report_to(report)
        if isinstance(report, Ended) and self._reader is not None:
            self._reader.stop()
