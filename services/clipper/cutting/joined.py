"""Joining the cuts of several ranges, in any order and of any recordings, to one clip: a reel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from services.clipper.cutting.plan import Candidate, CutPlan, Missing
from shared.media.seams.errors import EmptyCut


@dataclass(frozen=True, slots=True)
class Joined(Candidate):
    """Ranges one after the other, None where nothing was recorded; `start` and `end` are the first's and the last's."""

    parts: tuple[Candidate | None, ...] = field(default=(), repr=False)

    @property
    def gaps(self) -> tuple[Missing, ...]:
        """Return what is missing within each range, in the stream time of its own recording."""
        return tuple(gap for part in self.parts if part is not None for gap in part.gaps)


def join_plans(plans: Sequence[CutPlan | None]) -> CutPlan:
    """Return one plan for ranges in their order, None where nothing was recorded; EmptyCut when that is everywhere."""
    known = [plan for plan in plans if plan is not None]
    if not known:
        raise EmptyCut("nothing was recorded in the ranges")
    if len(plans) == 1:
        return known[0]
    exact = _join([plan.exact if plan else None for plan in plans])
    fast = _join([plan.fast if plan else None for plan in plans])
    return CutPlan(known[0].in_point, known[-1].out_point, exact, fast)


def parts_of(selection: Candidate) -> tuple[Candidate | None, ...]:
    """Return what a selection has of each range."""
    return selection.parts if isinstance(selection, Joined) else (selection,)


def joins(selection: Candidate) -> int:
    """Return at how many points of a clip another range begins."""
    return sum(part is not None for part in parts_of(selection)) - 1


def _join(parts: Sequence[Candidate | None]) -> Joined:
    known = [part for part in parts if part is not None]
    spans = tuple(span for part in known for span in part.spans)
    return Joined(known[0].start, known[-1].end, spans, tuple(parts))
