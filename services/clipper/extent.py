"""How far a segment's own samples reach, by the time at which they are shown and heard."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from shared.errors import MediaError
from shared.media.model import SampleTable, TrackConfig
from shared.media.mp4.fragments import read_fragments
from shared.media.mp4.init import parse_init
from shared.messages.media import SegmentWritten
from shared.store import MediaStore
from shared.store.base import ObjectMissing


def reaches(store: MediaStore, segment: SegmentWritten, moment: Fraction) -> bool:
    """Tell whether a segment holds all pictures and all sound up to a moment of stream time.

    False if it cannot be read. Segments end by decode time: their sound ends with that, and pictures that are decoded
    later may be shown before it.
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
    """Find until when nothing is missing (s by the track's own ticks); for rounding, half a frame later."""
    if track.kind == "audio":
        return Fraction(int(table.dts[-1] + table.duration[-1]), track.timescale)
    shown = np.sort(table.pts)
    usual = int(np.median(table.duration))
    holes = np.flatnonzero(np.diff(shown) > usual + usual // 2)
    last = int(shown[holes[0]] if len(holes) else shown[-1])
    return Fraction(last + usual + usual // 2, track.timescale)
