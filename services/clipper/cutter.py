"""Cuts a clip's two files from the recording. Blocking work runs in threads and obeys a stop event."""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path

from services.clipper.cutting import (
    Candidate,
    ClipFaulty,
    CutPlan,
    CutResult,
    CutSource,
    EmptyCut,
    Run,
    Segment,
    SegmentUnreadable,
    Stopped,
    cut_exact,
    cut_fast,
    join_plans,
    parts_of,
    plan_cut,
    verify_clip,
)
from services.clipper.cutting.cut import Renderer
from services.clipper.cutting.render import render
from services.clipper.edits.graph import Edit
from services.clipper.edits.render import render_edited
from services.clipper.footage import Footage, Recorded
from services.clipper.sealed_path import unsealed
from services.clipper.writing import content_key, room_for_it, written
from shared.errors import ReelayError, Rejected
from shared.media.cenc.key import ContentKey
from shared.media.timecode_line import label_after, label_at, stretches_of
from shared.media.timeline import locate
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
    """A made file, its bytes until it is published, what it has of each range, and what is missing in it."""

    file: ClipFile
    ranges: tuple[MadeRange, ...]
    gaps: tuple[Gap, ...]
    draft: Path


Cut = Callable[[CutPlan], CutResult]


@dataclass(frozen=True, slots=True)
class ClipCutter:
    """Makes clip files, of one range or of several, in their order: drafts, which `publish` puts into the store.

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
            return written(self._draft(key), self.content, stop, lambda out: cut_fast(plan, out, stop))

        result, plan = self._cut(footage, cut, stop, lost=lost)
        return self._made(result, plan.fast, "segment", key, footage)

    def exact(
        self, footage: Footage, key: str, stop: threading.Event, *, lost: bool = False, edit: Edit | None = None
    ) -> Made:
        """Cut the ranges to the frame, their pictures edited if asked, and check the file.

        If copied and encoded pictures turn out not to go together, all are encoded.
        """

        def cut(plan: CutPlan) -> CutResult:
            if edit is not None:
                return self._checked(plan, key, stop, partial(render_edited, edit=edit, every=plan.exact.spans))
            try:
                return self._checked(plan, key, stop, render)
            except ClipFaulty as error:
                log.warning("clip.joined_wrongly", key=key, reason=str(error))
                return self._checked(plan, key, stop, partial(render, alone=f"copied pictures would be wrong: {error}"))

        result, plan = self._cut(footage, cut, stop, lost=lost)
        return self._made(result, plan.exact, "frame", key, footage)

    def _checked(self, plan: CutPlan, key: str, stop: threading.Event, renderer: Renderer) -> CutResult:
        def checked(out: Path) -> CutResult:
            result = cut_exact(plan, out, stop, renderer)
            verify_clip(result, plan, stop)
            return result

        return written(self._draft(key), self.content, stop, checked)

    def publish(self, made: Made) -> Made:
        """Put a made file into the store, in place of another one of its key; StoreFull, Unavailable."""
        key = made.file.key
        path = self.store.begin(key)
        with room_for_it():
            made.draft.replace(path)
        try:
            self.store.commit(key)
        except ReelayError:
            if self.store.fetches:  # it was not uploaded, and will be cut again, perhaps on another machine
                path.unlink(missing_ok=True)
            raise
        return made

    def discard(self, made: Made) -> None:
        """Remove what was made, unless it has been published."""
        if made.draft.exists():
            made.draft.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # not empty
                made.draft.parent.rmdir()

    def _draft(self, key: str) -> Path:
        """Return where to write a file: beside its place, and named as what a killed clipper leaves."""
        path = self.store.begin(key)
        return path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")

    def _cut(self, footage: Footage, cut: Cut, stop: threading.Event, *, lost: bool) -> tuple[CutResult, CutPlan]:
        """Cut what can be read: after each failure try again without the segments of the unreadable file."""
        sound = footage
        for _ in range(len(footage.keys) + 1):
            owners: Owners = {}
            try:
                with ExitStack() as stack:
                    opened = [
                        stack.enter_context(local_source(self.store, part, stop, lost=lost, keys=self.keys))
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
        return Made(file, ranges, gaps, result.path)


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
    store: MediaStore, part: Recorded, stop: threading.Event, *, lost: bool = False, keys: KeyFor | None = None
) -> Iterator[tuple[CutSource, Owners]]:
    """Yield a range as local files, in runs of one session and init segment, and which segments need which file.

    ObjectMissing when a segment between its points is not in the store, or is deleted within the block. Missing ones
    outside them, or any when `lost` is set, are left out. Rejected for encrypted ones whose key is not known;
    Stopped when `stop` is set while they are fetched.
    """
    with ExitStack() as stack:

        def fetched(key: str) -> Path:
            if stop.is_set():
                raise Stopped("stopped while segments were fetched")
            return stack.enter_context(store.local(key))

        source, owners = _opened(part, fetched, lost=lost, keys=keys)
        try:
            yield source, owners
        except (FileNotFoundError, SegmentUnreadable) as error:
            path = Path(error.path if isinstance(error, SegmentUnreadable) else error.filename or "")
            if path.exists() or path not in owners:
                raise
            raise ObjectMissing(f"{path.name} was deleted while the clip was cut") from error


def _opened(
    part: Recorded, fetched: Callable[[str], Path], *, lost: bool, keys: KeyFor | None
) -> tuple[CutSource, Owners]:
    inits: dict[str, Path] = {}
    owners: dict[Path, frozenset[str]] = {}
    runs: list[Run] = []
    for group in _runs(part.segments):
        files: list[Segment] = []
        for segment in group:
            placed = locate(segment)
            try:
                if segment.init_key not in inits:
                    inits[segment.init_key] = fetched(segment.init_key)
                path = unsealed(fetched(segment.key), segment.key, keys)
            except ObjectMissing:
                if not lost and placed.start < part.end and placed.end > part.start:
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
    return CutSource(tuple(runs)), owners


def _runs(segments: Sequence[SegmentWritten]) -> list[list[SegmentWritten]]:
    groups: list[list[SegmentWritten]] = []
    for segment in segments:
        if groups and groups[-1][-1].init_key == segment.init_key:
            groups[-1].append(segment)
        else:
            groups.append([segment])
    return groups
