"""Checking a clip before it is published: its whole structure, and its pictures and sound where parts meet."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from threading import Event

import numpy as np

from services.clipper.cutting.cut import CutResult
from services.clipper.cutting.layout import TrackLayout, read_layout
from services.clipper.cutting.look import check_pictures, check_sound
from services.clipper.cutting.plan import CutPlan
from shared.media.seams.errors import ClipFaulty


def verify_clip(result: CutResult, plan: CutPlan, stop: Event | None = None) -> None:
    """Check a written clip; ClipFaulty names what is wrong.

    Always: moov first, all media inside, frame count, durations, steady decode times. For an exact clip, the pictures
    around every seam, at the start and at the end are also decoded, and encoded ones are compared with the
    recording's; of each sound track, the start is decoded. The work does not grow with the length of the clip.
    """
    video = _check_tables(result)
    if result.exact and video is not None:
        check_pictures(result, plan.exact, video, stop or Event())
    if result.exact and result.packets:
        check_sound(result)


def _check_tables(result: CutResult) -> TrackLayout | None:
    """Check all tracks' tables, and return the pictures': those of hours of sound are megabytes."""
    tracks = read_layout(result.path)
    video = next((track for track in tracks if track.kind == "vide"), None)
    _check_tracks(result, tracks)
    if video is not None:
        _check_video(result, video)
    return video


def _check_tracks(result: CutResult, tracks: Sequence[TrackLayout]) -> None:
    kinds = sorted(track.kind for track in tracks)
    expected = ["soun"] * len(result.packets) + ["vide"] * bool(result.frames)
    if kinds != expected:
        raise ClipFaulty(f"tracks are {kinds}, not {expected}")
    for track in tracks:
        if not len(track.steps) or int(track.steps.min()) <= 0:
            raise ClipFaulty(f"{track.kind}: decode times do not rise")
        if result.exact and track.entries != 1:
            raise ClipFaulty(f"{track.kind}: {track.entries} sample entries")
        if track.duration > result.duration + Fraction(1, 1000):
            raise ClipFaulty(f"{track.kind}: plays {float(track.duration)} s of {float(result.duration)}")
    packets = tuple(len(track.steps) for track in tracks if track.kind == "soun")
    if packets != result.packets:
        raise ClipFaulty(f"{packets} audio packets of {result.packets}")


def _check_video(result: CutResult, video: TrackLayout) -> None:
    if len(video.steps) != result.frames:
        raise ClipFaulty(f"{len(video.steps)} frames of {result.frames}")
    shown = np.sort(video.shown)
    if shown[0] != 0 or (len(shown) > 1 and int(np.diff(shown).min()) <= 0):
        raise ClipFaulty("presentation times do not rise from 0")
    if abs(video.duration - result.duration) > Fraction(1, 1000):
        raise ClipFaulty(f"plays {float(video.duration)} s of {float(result.duration)}")
    steady = result.rate is not None and result.frames == result.duration * result.rate
    if steady and set(video.steps.tolist()) != {video.timescale / (result.rate or 1)}:
        raise ClipFaulty("frame durations vary")
    if shown[-1] >= result.duration * video.timescale:
        raise ClipFaulty("the last frame comes after the end")
