"""Keeps the output's position, to the picture, in a file that outlives the process: the record is up to 1 s old.

A holder on the same machine continues from the file; one on another machine, from the record.
"""

from __future__ import annotations

import contextlib
import os
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final, NamedTuple

from shared.messages.restreams import PlaylistCursor, PlayoutRecord
from shared.runtime.clock import Clock
from shared.runtime.logging import get_logger

log = get_logger()
KEPT: Final = timedelta(hours=72)
_FORM: Final = struct.Struct("<Q8qQ")  # first and last number differ when it was half written


class Step(NamedTuple):
    """The position after the last picture sent in a run; `at_ms` is when it was sent."""

    run: int
    spec_number: int
    moved: int
    item: int
    range: int
    loop: int
    at: int
    at_ms: int

    @property
    def cursor(self) -> PlaylistCursor:
        """Return the position."""
        return PlaylistCursor(item=self.item, range=self.range, loop=self.loop, at=self.at)

    def continues(self, playout: PlayoutRecord) -> bool:
        """Return whether the holder that wrote `playout` wrote this step afterwards."""
        named = (playout.run, playout.spec_number, playout.moved)
        return (self.run, self.spec_number, self.moved) == named and self.at_ms >= playout.at_ms and not playout.live


@dataclass(slots=True)
class Trail:
    """Writes the steps of a run; after a disk error it writes no more."""

    path: Path
    run: int
    clock: Clock
    _number: int = 0
    _file: int = -1
    _dead: bool = False

    def note(self, spec_number: int, moved: int, cursor: tuple[int, int, int, int]) -> None:
        """Write what follows the picture just sent: item, range, loop, flicks. Never raises, hardly waits."""
        if self._dead:
            return
        self._number = number = self._number + 1
        try:
            if self._file < 0:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            step = _FORM.pack(number, self.run, spec_number, moved, *cursor, self.clock.now_ms(), number)  # see `Step`
            os.pwrite(self._file, step, 0)
        except (OSError, struct.error) as error:
            self._dead = True
            log.warning("restream.trail.none", error=str(error))

    def close(self) -> None:
        """Close the file; later steps are ignored."""
        self._dead = True
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


@dataclass(slots=True)
class Trails:
    """The trails of all runs on this machine: a file for each restream that plays, or did when its process died."""

    folder: Path
    clock: Clock
    _open: dict[str, Trail] = field(default_factory=dict)

    def begin(self, key: str, run: int) -> Trail:
        """Return the trail of a run that starts or goes on."""
        self.end(key, keep=True)
        trail = self._open[key] = Trail(self.folder / key, run, self.clock)
        return trail

    def last(self, key: str) -> Step | None:
        """Read the last step of a restream played here; None where there is none, or a broken one."""
        try:
            data = (self.folder / key).read_bytes()
            number, *fields, again = _FORM.unpack(data)
            step = Step(*fields)
        except (OSError, struct.error):
            return None
        return step if number == again and min(step) >= 0 else None

    def end(self, key: str, *, keep: bool = False) -> None:
        """Close a trail; delete its file unless `keep`."""
        trail = self._open.pop(key, None)
        if trail is not None:
            trail.close()
        if not keep:
            with contextlib.suppress(OSError):
                (self.folder / key).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Delete files older than KEPT."""
        for path in self._files():
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > KEPT.total_seconds():
                    path.unlink()

    def _files(self) -> Iterator[Path]:
        with contextlib.suppress(OSError):
            yield from self.folder.iterdir()
