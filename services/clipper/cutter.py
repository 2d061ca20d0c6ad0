"""Cuts a clip's two files from the recording. Blocking work runs in threads and obeys a stop event."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path

from services.clipper.cutting import (
    Candidate,
    CutPlan,
    CutResult,
    CutSource,
    EmptyCut,
    Run,
    Segment,
    SegmentUnreadable,
    cut_exact,
    cut_fast,
    join_plans,
    parts_of,
    plan_cut,
    verify_clip,
)
from services.clipper.cutting.render import render
from services.clipper.edits.graph import Edit
from services.clipper.edits.render import render_edited
from services.clipper.footage import Footage
from services.clipper.sealed_path import unsealed
from services.clipper.writing import content_key, written
from shared.errors import Rejected
from shared.media.cenc.key import ContentKey
from shared.media.timecode_line import label_after, label_at, stretches_of
from shared.media.timeline import Span, locate
from shared.messages.base import Accuracy
from shared.messages.clips import ClipEncryption, ClipFile
from shared.messages.media import SegmentWritten
from shared.messages.ranges import Gap, MadeRange
from shared.runtime.logging import get_logger
from shared.security.content_keys import KeyFor
from shared.security.secrets import Vault
from shared.store import MediaStore
from shared.store.base import ObjectMissing

log = get_logger()


@dataclass(frozen=True, slots=True)
class Made:
    """A made file, what it has of each range, and what is missing in it."""

    file: ClipFile
    ranges: tuple[MadeRange, ...]
    gaps: tuple[Gap, ...]


Cut = Callable[[CutPlan], CutResult]


@dataclass(frozen=True, slots=True)
class ClipCutter:
    """Makes clip files in the store, of one range or of several, in their order.

    A damaged segment becomes a gap. A segment that is not in the store becomes one too when `lost` says that it will
    not come back; otherwise ObjectMissing is raised.
    """

    store: MediaStore
    keys: KeyFor | None = None
    vault: Vault | None = None
    content: ContentKey | None = None

    def encrypting(self, asked: ClipEncryption | None) -> ClipCutter:
        """Return a cutter whose files are encrypted as asked for; Rejected when their key cannot be opened."""
        return replace(self, content=content_key(self.vault, asked)) if asked else self

    def fast(self, footage: Footage, key: str, stop: threading.Event, *, lost: bool = False) -> Made:
        """Copy the whole segments that hold the ranges to one MP4."""

        def cut(plan: CutPlan) -> CutResult:
            return written(self.store.begin(key), self.content, stop, lambda out: cut_fast(plan, out, stop))

        result, plan = self._cut(footage, cut, lost=lost)
        return self._made(result, plan.fast, "segment", key, footage)

    def exact(
        self, footage: Footage, key: str, stop: threading.Event, *, lost: bool = False, edit: Edit | None = None
    ) -> Made:
        """Cut the ranges to the frame, their pictures edited if asked, and check the file before it is published."""

        def cut(plan: CutPlan) -> CutResult:
            renderer = render if edit is None else partial(render_edited, edit=edit, every=plan.exact.spans)

            def checked(out: Path) -> CutResult:
                result = cut_exact(plan, out, stop, renderer)
                verify_clip(result, plan, stop)
                return result

            return written(self.store.begin(key), self.content, stop, checked)

        result, plan = self._cut(footage, cut, lost=lost)
        return self._made(result, plan.exact, "frame", key, footage)

    def _cut(self, footage: Footage, cut: Cut, *, lost: bool) -> tuple[CutResult, CutPlan]:
        """Cut what can be read: after each failure try again without the segments of the unreadable file."""
        sound = footage
        for _ in range(len(footage.keys) + 1):
            owners: Owners = {}
            try:
                with ExitStack() as stack:
                    opened = [
                        stack.enter_context(
                            local_source(
                                self.store, part.segments, Span(part.start, part.end), lost=lost, keys=self.keys
                            )
                        )
                        for part in sound.parts
                    ]
                    owners = _merged([owned for _, owned in opened])
                    plan = _planned(sound, [source for source, _ in opened])
                    return cut(plan), plan
            except SegmentUnreadable as error:
                owned = owners.get(error.path, frozenset())
                if not owned:
                    raise
                log.warning("clip.segment_unreadable", keys=sorted(owned)[:10], reason=str(error))
                sound = sound.without(owned)
            except EmptyCut as error:
                if sound is footage and not lost:
                    raise
                raise Rejected("what was recorded in the selected range has been lost") from error
            except ObjectMissing:
                if not lost:
                    raise
        raise Rejected("the recording vanishes while it is read")

    def _made(self, result: CutResult, cut: Candidate, accuracy: Accuracy, key: str, footage: Footage) -> Made:
        self.store.commit(key)
        parts = parts_of(cut)
        ranges = tuple(_made_range(part, one.segments) for part, one in zip(parts, footage.parts, strict=True))
        known = [one for one in ranges if one.duration]
        file = ClipFile(
            accuracy=accuracy, method=result.method, key=key, bytes=result.bytes, sha256=result.sha256,
            in_point=result.start, out_point=result.end, duration=result.duration, frames=result.frames,
            reason=result.reason[:512], in_timecode=known[0].in_timecode, out_timecode=known[-1].out_timecode,
            ranges=ranges if len(ranges) > 1 else (),
        )  # fmt: skip
        gaps = tuple(
            Gap(start=gap.start, duration=gap.duration, track=gap.track, range=position)
            for position, part in enumerate(parts) if part is not None
            for gap in part.gaps
        )  # fmt: skip
        return Made(file, ranges, gaps)


def _planned(footage: Footage, sources: Sequence[CutSource]) -> CutPlan:
    """Plan the cut of all ranges; EmptyCut when nothing of any was recorded."""
    plans: list[CutPlan | None] = []
    for part, source in zip(footage.parts, sources, strict=True):
        try:
            plans.append(plan_cut(source, part.start, part.end))
        except EmptyCut:
            if len(footage.parts) == 1:
                raise
            plans.append(None)
    return join_plans(plans)


def _made_range(part: Candidate | None, segments: Sequence[SegmentWritten]) -> MadeRange:
    if part is None:
        return MadeRange()
    stretches = stretches_of([locate(segment) for segment in segments])
    first, after = label_at(stretches, part.start), label_after(stretches, part.end)
    return MadeRange(
        in_point=part.start, out_point=part.end, duration=part.duration, frames=part.frames,
        in_timecode=None if first is None else str(first), out_timecode=None if after is None else str(after),
    )  # fmt: skip


def _merged(owners: Sequence[Owners]) -> Owners:
    """Return the segments that need each file, of all ranges."""
    found: dict[Path, frozenset[str]] = {}
    for one in owners:
        for path, keys in one.items():
            found[path] = found.get(path, frozenset()) | keys
    return found


Owners = Mapping[Path, frozenset[str]]
"""For each local file, the keys of the segments that need it."""


@contextlib.contextmanager
def local_source(
    store: MediaStore, segments: Sequence[SegmentWritten], span: Span, *, lost: bool = False, keys: KeyFor | None = None
) -> Iterator[tuple[CutSource, Owners]]:
    """Yield the segments as local files, in runs of one session and init segment, and which segments need which file.

    ObjectMissing when a segment of the span is not in the store, or is deleted within the block. Missing segments
    outside the span, or any when `lost` is set, are left out. Rejected for encrypted ones whose key is not known.
    """
    with ExitStack() as stack:
        inits: dict[str, Path] = {}
        owners: dict[Path, frozenset[str]] = {}
        runs: list[Run] = []
        for group in _runs(segments):
            files: list[Segment] = []
            for segment in group:
                placed = locate(segment)
                try:
                    if segment.init_key not in inits:
                        inits[segment.init_key] = stack.enter_context(store.local(segment.init_key))
                    path = unsealed(stack.enter_context(store.local(segment.key)), segment.key, keys)
                except ObjectMissing:
                    if not lost and placed.start < span.end and placed.end > span.start:
                        raise
                    log.warning("clip.segment_lost", key=segment.key)
                else:
                    files.append(Segment(path, segment.start, segment.duration))
                    owners[path] = frozenset((segment.key,))
            if files:
                head = group[0]
                init = inits[head.init_key]
                owners[init] = owners.get(init, frozenset()) | {segment.key for segment in group}
                origin = Fraction(head.origin_ms, 1000) - Fraction(head.zero, head.timescale)
                runs.append(Run(init, tuple(files), origin, head.session, head.zero))
        try:
            yield CutSource(tuple(runs)), owners
        except (FileNotFoundError, SegmentUnreadable) as error:
            path = Path(error.path if isinstance(error, SegmentUnreadable) else error.filename or "")
            if path.exists() or path not in owners:
                raise
            raise ObjectMissing(f"{path.name} was deleted while the clip was cut") from error


def _runs(segments: Sequence[SegmentWritten]) -> list[list[SegmentWritten]]:
    groups: list[list[SegmentWritten]] = []
    for segment in segments:
        if groups and groups[-1][-1].init_key == segment.init_key:
            groups[-1].append(segment)
        else:
            groups.append([segment])
    return groups
