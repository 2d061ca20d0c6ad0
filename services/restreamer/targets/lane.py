"""A format's way from units to blocks: packed once, with the current GOP kept for targets that come later."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from services.restreamer.model import FLICKS, Unit
from services.restreamer.targets.terms import Block, Packer, Tracks

BACKLOG_BYTES: Final = 8 << 20
BACKLOG_TIME: Final = 30 * FLICKS
_SOUND_WITHIN: Final = FLICKS // 2
"""How much of the programme's beginning waits for its sound, so that targets hear of both tracks at once."""


def is_entry(unit: Unit) -> bool:
    """Tell whether a target can begin at a unit."""
    return unit.key and unit.kind == "video"


class Recent:
    """The units since the last keyframe, for a format that is not packed yet; none when they are too many."""

    def __init__(self) -> None:
        self.tracks = Tracks()
        """As they were at that keyframe."""
        self.units: list[Unit] = []
        self._now = Tracks()
        self._bytes = 0
        self._whole = False

    def add(self, units: Iterable[Unit]) -> None:
        """Take more."""
        for unit in units:
            if unit.track is not None:
                self._now.learn(unit.track)
            if is_entry(unit):
                self.tracks, self.units, self._bytes, self._whole = self._now.copy(), [], 0, True
            if self._whole:
                self.units.append(unit)
                self._bytes += len(unit.data)
            if self._bytes > BACKLOG_BYTES or (self.units and unit.dts - self.units[0].dts > BACKLOG_TIME):
                self.units, self._bytes, self._whole = [], 0, False
            if not self._whole:
                self.tracks = self._now


class Lane:
    """Packs for the targets of one format. `tracks` are those at the first unit that is fed."""

    def __init__(self, packer: Packer, tracks: Tracks) -> None:
        self.unfit = ""
        """Why the format cannot carry the programme; empty: it can."""
        self.tracks = tracks.copy()
        self.number = 0
        """Counts configurations."""
        self._packer = packer
        self._fresh = {track.kind for track in (tracks.video, tracks.audio) if track is not None}
        self._first: list[Unit] | None = None if len(self._fresh) == 2 else []
        self._open = False
        self._backlog: list[Block] = []
        self._bytes = 0
        self._whole = False
        self._entry = Tracks()
        self._judge()

    def feed(self, units: Sequence[Unit]) -> list[Block]:
        """Pack units for targets that have begun; the first block may hold nothing but configuration."""
        if self._first is not None:
            units = self._hold(self._first, units)
        blocks: list[Block] = []
        for batch in _batches(units):
            self._take(batch, blocks)
        return [block for block in blocks if block.data]

    def start(self) -> list[Block]:
        """Give what a target begins with: configuration and the current GOP; nothing when there is none whole."""
        if not self._backlog:
            return []
        head = self._packer.head(self._entry, self._backlog[0].at)
        return [head, *self._backlog] if head.data else list(self._backlog)

    def _hold(self, first: list[Unit], units: Iterable[Unit]) -> Sequence[Unit]:
        for unit in units:
            if unit.track is not None:
                self.tracks.learn(unit.track)
                self._fresh.add(unit.track.kind)
            first.append(replace(unit, track=None))
        if not first or (len(self._fresh) < 2 and first[-1].dts - first[0].dts < _SOUND_WITHIN):
            return ()
        self._first = None
        self._judge()
        return first

    def _judge(self) -> None:
        tracks = (track for track in (self.tracks.video, self.tracks.audio) if track is not None)
        self.unfit = next((why for track in tracks if (why := self._packer.unfit(track))), "")

    def _take(self, batch: list[Unit], blocks: list[Block]) -> None:
        """Pack units of which only the first can be an entry or bring a configuration."""
        first = batch[0]
        if first.track is not None:
            self.tracks.learn(first.track)
            self._fresh.add(first.track.kind)
            self._judge()
        entry = is_entry(first)
        if self.unfit or not (entry or self._open):
            self._open = self._whole = False
            self._backlog.clear()
            return
        self._open = True
        if entry:
            self._backlog.clear()
            self._bytes, self._whole = 0, True
        if self._fresh:
            blocks.append(self._packer.configure(self.tracks.copy(), self._fresh, first.dts))
            self._fresh.clear()
            self.number += 1
            if not entry:
                self._keep(blocks[-1])
        if entry:
            self._entry = self.tracks.copy()
        blocks.append(self._packer.pack(batch))
        self._keep(blocks[-1])

    def _keep(self, block: Block) -> None:
        """Add to the backlog; one that grows too large is forgotten, and targets wait for the next keyframe."""
        if not self._whole or not block.data:
            return
        self._bytes += len(block.data)
        self._backlog.append(block)
        if self._bytes > BACKLOG_BYTES or block.at - self._backlog[0].at > BACKLOG_TIME:
            self._backlog.clear()
            self._whole = False


def _batches(units: Iterable[Unit]) -> list[list[Unit]]:
    """Split before every unit that is an entry or brings a configuration."""
    found: list[list[Unit]] = []
    for unit in units:
        if not found or unit.track is not None or is_entry(unit):
            found.append([])
        found[-1].append(unit)
    return found
