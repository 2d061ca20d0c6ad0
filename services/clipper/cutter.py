"""Cuts a clip's two files from the recording. What blocks runs in threads and heeds a stop event."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from shared.logging import get_logger
from shared.media.cutting import (
    CutResult,
    CutSource,
    Run,
    Segment,
    SegmentUnreadable,
    cut_exact,
    cut_fast,
    plan_cut,
    verify_clip,
)
from shared.media.timeline import place
from shared.messages.clips import Accuracy, ClipFile, Gap
from shared.messages.media import SegmentWritten
from shared.store import MediaStore
from shared.store.base import ObjectMissing

log = get_logger()


@dataclass(frozen=True, slots=True)
class Made:
    """A made file and what is missing in it."""

    file: ClipFile
    gaps: tuple[Gap, ...]


@dataclass(frozen=True, slots=True)
class Cutter:
    """Makes clip files in the store."""

    store: MediaStore

    def fast(
        self, segments: Sequence[SegmentWritten], start: Fraction, end: Fraction, key: str, stop: threading.Event
    ) -> Made:
        """Copy the whole segments that hold [start, end) of stream time to one MP4."""
        with local_source(self.store, segments, start, end) as source:
            result = cut_fast(plan_cut(source, start, end), self.store.begin(key), stop)
        return self._made(result, "segment", key)

    def exact(
        self, segments: Sequence[SegmentWritten], start: Fraction, end: Fraction, key: str, stop: threading.Event
    ) -> Made:
        """Cut [start, end) of stream time to the frame, and check the file before it is anybody's."""
        with local_source(self.store, segments, start, end) as source:
            plan = plan_cut(source, start, end)
            result = cut_exact(plan, self.store.begin(key), stop)
            verify_clip(result, plan, stop)
        return self._made(result, "frame", key)

    def _made(self, result: CutResult, accuracy: Accuracy, key: str) -> Made:
        self.store.commit(key)
        file = ClipFile(
            accuracy=accuracy, method=result.method, key=key, bytes=result.bytes, sha256=result.sha256,
            in_point=result.start, out_point=result.end, duration=result.duration, frames=result.frames,
            reason=result.reason[:512],
        )  # fmt: skip
        return Made(file, tuple(Gap(start=gap.start, duration=gap.duration, track=gap.track) for gap in result.gaps))


@contextlib.contextmanager
def local_source(
    store: MediaStore, segments: Sequence[SegmentWritten], start: Fraction, end: Fraction
) -> Iterator[CutSource]:
    """Give the segments as local files, in runs of one session and init segment.

    ObjectMissing when one of [start, end) is not in the store, or is deleted within the block; a lost one beside that
    range is done without.
    """
    with ExitStack() as stack:
        inits: dict[str, Path] = {}
        runs: list[Run] = []
        for group in _runs(segments):
            files: list[Segment] = []
            for segment in group:
                placed = place(segment)
                try:
                    if segment.init_key not in inits:
                        inits[segment.init_key] = stack.enter_context(store.local(segment.init_key))
                    path = stack.enter_context(store.local(segment.key))
                except ObjectMissing:
                    if placed.start < end and placed.end > start:
                        raise
                    log.warning("clip.neighbour_lost", key=segment.key)
                else:
                    files.append(Segment(path, segment.start, segment.duration))
            if files:
                head = group[0]
                origin = Fraction(head.origin_ms, 1000) - Fraction(head.zero, head.timescale)
                runs.append(Run(inits[head.init_key], tuple(files), origin, head.session, head.zero))
        try:
            yield CutSource(tuple(runs))
        except (FileNotFoundError, SegmentUnreadable) as error:
            path = Path(error.path if isinstance(error, SegmentUnreadable) else error.filename or "")
            if path.exists() or path not in {*inits.values(), *(file.path for run in runs for file in run.segments)}:
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
