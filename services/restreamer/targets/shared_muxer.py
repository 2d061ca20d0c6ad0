"""Packs units into one format's blocks, once for all targets, and keeps the current GOP for targets that join later."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from services.restreamer.model import FLICKS, Unit
from services.restreamer.targets.backlog import BACKLOG_BYTES, Backlog
from services.restreamer.targets.rtmp.ahead import Packed
from services.restreamer.targets.terms import Block, Packer, Tracks

__all__ = ["BACKLOG_BYTES", "Recent", "SharedMuxer", "is_entry"]
_SOUND_WITHIN: Final = FLICKS // 2
"""How much of the programme's beginning waits for its sound, so that targets learn of both tracks at once."""


def is_entry(unit: Unit) -> bool:
    """Return whether a target can start at a unit."""
    return unit.key and unit.kind == "video"


class Recent:
    """The units since the last keyframe, for a format that is not packed yet; empty when they are too many."""

    def __init__(self) -> None:
        self.tracks = Tracks()
        """The tracks at that keyframe."""
        self._now = Tracks()
        self._backlog: Backlog[Unit] = Backlog()

    @property
    def units(self) -> list[Unit]:
        """Return the units, the keyframe first."""
        return self._backlog.kept

    def add(self, units: Sequence[Unit], size: int = 0) -> None:
        """Add units; `size` is their bytes where none of them is an entry or has a track."""
        for batch in [units] if size or _plain(units) else _batches(units):
            first = batch[0]
            if first.track is not None:
                self._now.learn(first.track)
            if is_entry(first):
                self._backlog.begin()
                self.tracks = self._now.copy()
            self._backlog.extend(batch, size or sum([len(unit.data) for unit in batch]))
            if not self._backlog.whole:
                self.tracks = self._now


class SharedMuxer:
    """Packs for the targets of one format. `tracks` are those at the first unit fed."""

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
        self._backlog: Backlog[Block] = Backlog()
        self._entry = Tracks()
        self._judge()

    def feed(self, units: Sequence[Unit], ready: Packed | None = None) -> list[Block]:
        """Pack units for targets that have started; the first block may hold only configuration.

        `ready` is what was packed of them before; it is used unless the programme has changed since.
        """
        if ready is not None and self._open and not self._fresh and ready.fits(self.tracks):
            self._keep(ready.block)
            return [ready.block]
        if self._first is not None:
            units = self._hold(self._first, units)
        elif self._open and not self._fresh and _plain(units):
            block = self._packer.pack(units)
            self._keep(block)
            return [block]
        blocks: list[Block] = []
        for batch in _batches(units):
            self._take(batch, blocks)
        return [block for block in blocks if block.data]

    def start(self) -> list[Block]:
        """Return what a target starts with: configuration and the current GOP; nothing where no whole GOP is kept."""
        blocks = self._backlog.kept
        if not blocks:
            return []
        head = self._packer.head(self._entry, blocks[0].at)
        return [head, *blocks] if head.data else list(blocks)

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

    def _take(self, batch: Sequence[Unit], blocks: list[Block]) -> None:
        """Pack units of which only the first can be an entry or have a configuration."""
        first = batch[0]
        if first.track is not None:
            self.tracks.learn(first.track)
            self._fresh.add(first.track.kind)
            self._judge()
        entry = is_entry(first)
        if self.unfit or not (entry or self._open):
            self._open = False
            self._backlog.forget()
            return
        self._open = True
        if entry:
            self._backlog.begin()
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
        """Add to the backlog; after it grew too large, targets wait for the next keyframe."""
        if block.data:
            self._backlog.add(block, len(block.data))


def _plain(units: Sequence[Unit]) -> bool:
    """Return whether none of the units is an entry or has a configuration."""
    for unit in units:
        if unit.track is not None or (unit.key and unit.kind == "video"):
            return False
    return bool(units)


def _batches(units: Iterable[Unit]) -> list[Sequence[Unit]]:
    """Split before every unit that is an entry or has a configuration."""
    batch: list[Unit] = []
    found: list[Sequence[Unit]] = []
    for unit in units:
        if not batch or unit.track is not None or (unit.key and unit.kind == "video"):
            batch = []
            found.append(batch)
        batch.append(unit)
    return found
