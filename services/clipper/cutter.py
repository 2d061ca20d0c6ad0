"""Cuts a clip's two files from the recording. Blocking work runs in threads and obeys a stop event."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from services.clipper.cutting import (
    CutResult,
    CutSource,
    EmptyCut,
    Run,
    Segment,
    SegmentUnreadable,
    cut_exact,
    cut_fast,
    plan_cut,
    verify_clip,
)
from services.clipper.sealed_path import unsealed
from services.clipper.writing import content_key, written
from shared.errors import Rejected
from shared.media.cenc.key import ContentKey
from shared.media.timecode_line import label_after, label_at, stretches_of
from shared.media.timeline import Span, locate
from shared.messages.base import Accuracy
from shared.messages.clips import ClipEncryption, ClipFile, Gap
from shared.messages.media import SegmentWritten
from shared.runtime.logging import get_logger
from shared.security.content_keys import KeyFor
from shared.security.secrets import Vault
from shared.store import MediaStore
from shared.store.base import ObjectMissing

log = get_logger()


@dataclass(frozen=True, slots=True)
class Made:
    """A made file and what is missing in it."""

    file: ClipFile
    gaps: tuple[Gap, ...]


@dataclass(frozen=True, slots=True)
class ClipCutter:
    """Makes clip files in the store.

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

    def fast(
        self, segments: Sequence[SegmentWritten], start: Fraction, end: Fraction, key: str, stop: threading.Event,
        *, lost: bool = False,
    ) -> Made:  # fmt: skip
        """Copy the whole segments that hold [start, end) of stream time to one MP4."""

        def cut(source: CutSource) -> CutResult:
            plan = plan_cut(source, start, end)
            return written(self.store.begin(key), self.content, stop, lambda out: cut_fast(plan, out, stop))

        return self._made(self._cut(segments, Span(start, end), cut, lost=lost), "segment", key, segments)

    def exact(
        self, segments: Sequence[SegmentWritten], start: Fraction, end: Fraction, key: str, stop: threading.Event,
        *, lost: bool = False,
    ) -> Made:  # fmt: skip
        """Cut [start, end) of stream time to the frame, and check the file before it is published."""

        def cut(source: CutSource) -> CutResult:
            plan = plan_cut(source, start, end)

            def checked(out: Path) -> CutResult:
                result = cut_exact(plan, out, stop)
                verify_clip(result, plan, stop)
                return result

            return written(self.store.begin(key), self.content, stop, checked)

        return self._made(self._cut(segments, Span(start, end), cut, lost=lost), "frame", key, segments)

    def _cut(
        self, segments: Sequence[SegmentWritten], span: Span, cut: Callable[[CutSource], CutResult], *, lost: bool
    ) -> CutResult:
        """Cut what can be read: after each failure try again without the segments of the unreadable file."""
        sound = list(segments)
        for _ in range(len(segments) + 1):
            try:
                with local_source(self.store, sound, span, lost=lost, keys=self.keys) as (source, owners):
                    return cut(source)
            except SegmentUnreadable as error:
                owned = owners.get(error.path, frozenset())
                if not owned:
                    raise
                log.warning("clip.segment_unreadable", keys=sorted(owned)[:10], reason=str(error))
                sound = [segment for segment in sound if segment.key not in owned]
            except EmptyCut as error:
                if len(sound) == len(segments) and not lost:
                    raise
                raise Rejected("what was recorded in the selected range has been lost") from error
            except ObjectMissing:
                if not lost:
                    raise
        raise Rejected("the recording vanishes while it is read")

    def _made(self, result: CutResult, accuracy: Accuracy, key: str, segments: Sequence[SegmentWritten]) -> Made:
        self.store.commit(key)
        stretches = stretches_of([locate(segment) for segment in segments])
        first, after = label_at(stretches, result.start), label_after(stretches, result.end)
        file = ClipFile(
            accuracy=accuracy, method=result.method, key=key, bytes=result.bytes, sha256=result.sha256,
            in_point=result.start, out_point=result.end, duration=result.duration, frames=result.frames,
            reason=result.reason[:512],
            in_timecode=None if first is None else str(first), out_timecode=None if after is None else str(after),
        )  # fmt: skip
        return Made(file, tuple(Gap(start=gap.start, duration=gap.duration, track=gap.track) for gap in result.gaps))


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
