"""Pictures out of an init segment and some segments after it, as one stream of bytes."""

from __future__ import annotations

import io
import tempfile
from fractions import Fraction
from pathlib import Path
from threading import Event
from typing import Any

import av

from services.clipper.images.frames import TOLERANCE, Found, shown_at, video_of
from shared.errors import Rejected


def still(data: bytes, at: Fraction, stop: Event) -> Found:
    """Return the frame on show at a moment of the segments' own time, s; Rejected, Stopped."""
    with av.open(io.BytesIO(data), "r", format="mp4") as container:
        return shown_at(container, video_of(container), at, stop)


def keyframe_film(data: bytes, at: Fraction) -> tuple[bytes, tuple[int, int], Fraction]:
    """Return an MP4 of the one keyframe that is shown at or before a moment, its size, and its own time; Rejected."""
    with av.open(io.BytesIO(data), "r", format="mp4") as container:
        stream = video_of(container)
        base = stream.time_base or Fraction(1)
        chosen: Any = None
        for packet in container.demux(stream):
            if packet.pts is None or not packet.is_keyframe:
                continue
            if chosen is not None and packet.pts * base > at + TOLERANCE:
                break
            chosen = packet
        if chosen is None:
            raise Rejected("there is no keyframe")
        own = Fraction(chosen.pts) * base
        with tempfile.TemporaryDirectory(prefix="reelay-keyframe-") as folder:
            path = Path(folder) / "film.mp4"  # the index is moved to the front by reading the file once more
            with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as film:
                chosen.stream = film.add_stream_from_template(stream)
                chosen.pts = chosen.dts = 0
                film.mux(chosen)
            return path.read_bytes(), (stream.width, stream.height), own
