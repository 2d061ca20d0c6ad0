"""Cutting: the fast way copies whole segments, the exact way also encodes the ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from threading import Event
from typing import Literal

from services.clipper.cutting.assemble import VideoPart, copied_part, steady_rate, video_track
from services.clipper.cutting.joined import joins
from services.clipper.cutting.plan import Candidate, ClipSpan, CutPlan, Missing
from services.clipper.cutting.prints import Print
from services.clipper.cutting.progress import ALL, WRITING, Share, note
from services.clipper.cutting.render import Rendered, render
from services.clipper.cutting.samples import Spool
from services.clipper.cutting.sound import make_sounds, sound_differs
from services.clipper.movie.movie import Movie, MovieTrack, write_movie
from shared.media.mp4.boxes import Mp4Error
from shared.media.seams.errors import CutError, MixedConfigs, Stopped

Method = Literal["copy", "smart", "reencode"]
Renderer = Callable[[Sequence[ClipSpan], Spool, Event], Rendered]


@dataclass(frozen=True, slots=True)
class CutPart:
    """Frames [`first`, `first` + `count`) of a clip, in order of presentation, that come from one source."""

    kind: Literal["copy", "encode"]
    first: int
    count: int


@dataclass(frozen=True, slots=True)
class CutResult:
    """A written clip. `start`, `end` and `gaps` are stream time, `duration` is what plays, all in seconds.

    `exact` says which of the plan's two selections it holds. `method` is "copy" when every frame is copied from the
    recording, "smart" when some are, "reencode" when none is; `reason` says why frames were encoded.
    `damaged` counts frames that cannot be decoded, where the one before is shown instead. `rate` is None where frame
    durations vary. `packets` counts those of each sound track.
    """

    path: Path
    exact: bool
    method: Method
    reason: str
    start: Fraction
    end: Fraction
    duration: Fraction
    gaps: tuple[Missing, ...]
    bytes: int
    sha256: str
    frames: int
    encoded: int = 0
    damaged: int = 0
    rate: Fraction | None = None
    packets: tuple[int, ...] = ()
    parts: tuple[CutPart, ...] = ()
    prints: tuple[Print, ...] = field(default=(), repr=False)


def cut_fast(plan: CutPlan, out: Path, stop: Event | None = None) -> CutResult:
    """Write the whole segments that contain the range to `out`, without encoding.

    `out` appears complete or not at all. Stopped when `stop` is set, MixedConfigs when the range joins streams
    of different codecs, OSError from the disk.
    """
    spans = plan.fast.pictured
    if len({span.video.config.codec for span in spans}) > 1 or sound_differs(plan.fast.spans):
        raise MixedConfigs("the range joins streams of different codecs")
    with Spool(out.parent) as spool:
        if not spans:
            return _write(plan.fast, None, out, spool, stop or Event(), ALL)
        configs = [span.video.config for span in spans]
        entries = list(dict.fromkeys(config.sample_entry for config in configs))
        parts = [copied_part(span, span.frames, entries.index(span.video.config.sample_entry)) for span in spans]
        rendered = Rendered(tuple(parts), configs[0], tuple(entries[1:]))
        return _write(plan.fast, rendered, out, spool, stop or Event(), ALL)


def cut_exact(plan: CutPlan, out: Path, stop: Event | None = None, renderer: Renderer = render) -> CutResult:
    """Write exactly the requested frames to `out`, encoding only those whose references are cut off.

    Another `renderer` makes other pictures of the same frames.

    `out` appears complete or not at all. Stopped when `stop` is set, SegmentUnreadable, CutError when decoding or
    encoding fails, OSError from the disk.
    """
    stop = stop or Event()
    with Spool(out.parent) as spool:
        rendered = renderer(plan.exact.pictured, spool, stop) if plan.exact.frames else None
        return replace(_write(plan.exact, rendered, out, spool, stop), exact=True)


def _write(
    selection: Candidate, rendered: Rendered | None, out: Path, spool: Spool, stop: Event, share: Share = WRITING
) -> CutResult:
    tracks: list[MovieTrack] = []
    if rendered is not None:
        tracks.append(video_track(rendered.parts, selection.spans, rendered.config, rendered.extra_entries))
    sounds = make_sounds(selection.spans, spool, stop, joined=joins(selection) > 0)
    tracks += sounds
    spool.flush()
    whole = sum(int(track.samples.size.sum()) for track in tracks)
    try:
        movie = write_movie(out, tracks, window=(Fraction(0), selection.duration), tick=_halt(stop, share, whole))
    except Mp4Error as error:
        raise CutError(f"clip cannot be written: {error}") from error
    return _result(selection, rendered, movie, tuple(len(sound.samples) for sound in sounds))


def _result(selection: Candidate, rendered: Rendered | None, movie: Movie, packets: tuple[int, ...]) -> CutResult:
    parts = rendered.parts if rendered is not None else ()
    encoded = sum(len(part.at) for part in parts if part.kind == "encode")
    method: Method = "copy" if not encoded else "smart" if encoded < selection.frames else "reencode"
    return CutResult(
        movie.path,
        False,
        method,
        rendered.reason if rendered is not None else "",
        selection.start,
        selection.end,
        selection.duration,
        selection.gaps,
        movie.bytes,
        movie.sha256,
        selection.frames,
        encoded,
        rendered.damaged if rendered is not None else 0,
        steady_rate(selection.spans) if parts else None,
        packets,
        tuple(_summary(parts)),
        rendered.prints if rendered is not None else (),
    )


def _summary(parts: Sequence[VideoPart]) -> list[CutPart]:
    """Return each part's position among the clip's frames."""
    found: list[CutPart] = []
    at = 0
    for part in parts:
        found.append(CutPart(part.kind, at, len(part.at)))
        at += len(part.at)
    return found


def _halt(stop: Event, share: Share, whole: int) -> Callable[[int], None]:
    def check(written: int) -> None:
        note(stop, share, written, whole)
        if stop.is_set():
            raise Stopped("stopped while writing")

    return check
