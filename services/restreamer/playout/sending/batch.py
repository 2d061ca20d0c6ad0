"""Batches of units that are sent together: a picture and the sound up to the next one. The reader builds them.

The sending thread wakes for each batch with cold caches: work that can be done before is done here (ADR 20).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from services.restreamer.model import FLICKS, Unit, value
from services.restreamer.playout.reading.splice import SplicedUnit
from services.restreamer.playout.reading.verdict import LEAD
from shared.messages.restreams import PlaylistCursor

SOUND: Final = FLICKS * 40 // 1000
"""How early sound is sent at most, with the picture before it: one send per picture, not one per unit."""
A_UNIT: Final = 1 << 10
"""Memory that a unit and its objects take beside its data, bytes."""


@value
class Sent:
    """What the pacer took: the last video entry, where sound ends, and the last entry whose successor is known."""

    video: SplicedUnit | None = None
    sound_end: int = LEAD
    leads: SplicedUnit | None = None

    @property
    def cursor(self) -> PlaylistCursor | None:
        """Return the last known next position."""
        return self.leads.cursor if self.leads is not None else None


_NS_MANY, _NS_FEW = Fraction(1_000_000_000, FLICKS).as_integer_ratio()


def to_ns(flicks: int) -> int:
    """Convert flicks to nanoseconds."""
    return flicks * _NS_MANY // _NS_FEW


@dataclass(slots=True, eq=False)
class Batch:
    """Entries that are sent when the first of them is due, and what was `sent` after them.

    Only the first may be a picture or have a track. `due_ns` and `end_ns` are the output times at which the first one
    starts and ends, `size` is their memory in bytes. `ready` is what the outputs prepared from them.
    """

    entries: list[SplicedUnit]
    units: list[Unit]
    due_ns: int
    end_ns: int
    size: int
    sent: Sent
    ready: object | None = None


def batched(entries: Sequence[SplicedUnit], sent: Sent) -> Iterator[Batch]:
    """Group entries, which follow what was `sent`, into batches."""
    run: list[SplicedUnit] = []
    until = 0
    for entry in entries:
        unit = entry.unit
        if not run or unit.kind == "video" or unit.dts > until or unit.track is not None:
            if run:
                batch = _batch(run, sent)
                sent = batch.sent
                yield batch
            run, until = [], unit.dts + SOUND
        run.append(entry)
    if run:
        yield _batch(run, sent)


def _batch(run: list[SplicedUnit], sent: Sent) -> Batch:
    units = [entry.unit for entry in run]
    size = sum([len(unit.data) for unit in units]) + len(units) * A_UNIT
    first, last = units[0], units[-1]
    video, leads, sound_end = sent.video, sent.leads, sent.sound_end
    if first.kind == "video":
        video = run[0]
        leads = video if video.leads else leads
    if last.kind == "audio":
        sound_end = last.pts + last.duration
    return Batch(run, units, to_ns(first.dts), to_ns(first.dts + first.duration), size, Sent(video, sound_end, leads))
