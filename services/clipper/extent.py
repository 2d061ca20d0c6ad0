"""Finds how far a segment's own samples reach, by presentation time."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from shared.errors import MediaError
from shared.media.model import SampleTable
from shared.media.mp4.fragments import read_fragments
from shared.media.mp4.init import parse_init
from shared.media.tracks import TrackConfig
from shared.messages.media import SegmentWritten
from shared.store import MediaStore
from shared.store.base import ObjectMissing


def reaches(store: MediaStore, segment: SegmentWritten, moment: Fraction) -> bool:
    """Return whether a segment holds all pictures and all sound up to a moment of stream time.

    False if it cannot be read. A segment ends at a decode time: its sound ends there too, but pictures of the next
    segment may be shown before it.
    """
    origin = Fraction(segment.origin_ms, 1000) - Fraction(segment.zero, segment.timescale)
    try:
        with store.local(segment.init_key) as init, store.local(segment.key) as path:
            tracks = parse_init(init.read_bytes())
            tables = read_fragments(path).tables
    except (ObjectMissing, MediaError, OSError):
        return False
    known = [(track, table) for track in tracks if (table := tables.get(track.track_id)) is not None and len(table)]
    return bool(known) and all(origin + _end(track, table) >= moment for track, table in known)


def _end(track: TrackConfig, table: SampleTable) -> Fraction:
    """Return the time up to which nothing is missing (s, by the track's own ticks), plus half a frame for rounding."""
    if track.kind == "audio":
        return Fraction(int(table.dts[-1] + table.duration[-1]), track.timescale)
    shown = np.sort(table.pts)
    usual = int(np.median(table.duration))
    holes = np.flatnonzero(np.diff(shown) > usual + usual // 2)
    last = int(shown[holes[0]] if len(holes) else shown[-1])
    return Fraction(last + usual + usual // 2, track.timescale)
