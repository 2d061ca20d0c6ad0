"""Decoding chosen frames of recorded video."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event
from typing import NamedTuple

import av
import numpy as np

from services.clipper.cutting.gops import decode_start
from services.clipper.cutting.samples import SampleReader
from shared.media.model import Int64s
from shared.media.seams.errors import Stopped
from shared.media.seams.source import Video
from shared.media.transcode.decoder import picture_decoder
from shared.media.transcode.recorded import recorded_track

# Before the first wanted frame only reference frames are decoded, except for the last few frames: from them the decoder
# learns how deep the stream reorders, when its headers do not say.
LEARN = 16


class Decoded(NamedTuple):
    """A frame and its position; where the recording is damaged, the frame before it, or None when there is none."""

    at: int
    frame: av.VideoFrame | None
    whole: bool


def decode_rows(
    video: Video, rows: Int64s, reader: SampleReader, stop: Event, *, strict: bool = False
) -> Iterator[Decoded]:
    """Decode the frames `rows` in order of presentation; Stopped when `stop` is set.

    A `strict` decoder drops a frame at the first error in it, as a player might, instead of concealing the error.
    """
    wanted = np.sort(video.at[rows]).tolist()
    decoder = picture_decoder(recorded_track(video.config), strict=strict, threads=0)
    first = decode_start(video, wanted[0], reader)
    spoiled: set[int] = set()
    whole = wanted[0] - LEARN * video.typical
    frames = _decoded(decoder, video, range(first, int(rows.max()) + 1), whole, reader, spoiled, stop)
    before: av.VideoFrame | None = None
    upcoming = next(frames, None)
    for position in wanted:
        while upcoming is not None and upcoming[0] <= position:
            at, before = upcoming
            upcoming = next(frames, None)
            if at == position:
                yield Decoded(position, before, not before.is_corrupt and at not in spoiled)
                break
        else:
            yield Decoded(position, before, whole=False)


def skip_unused(decoder: av.VideoCodecContext, *, before: bool) -> None:
    """Skip the next picture if it lies `before` the wanted ones and no other refers to it (H.264 marks these)."""
    decoder.skip_frame = "NONREF" if before and decoder.name == "h264" else "DEFAULT"


def _decoded(
    decoder: av.VideoCodecContext,
    video: Video,
    rows: range,
    whole: int,
    reader: SampleReader,
    spoiled: set[int],
    stop: Event,
) -> Iterator[tuple[int, av.VideoFrame]]:
    """Decode adjacent rows and yield (position, frame) in output order; positions that fail are added to `spoiled`.

    Before position `whole`, frames that no other refers to are skipped.
    """
    for row in rows:
        if stop.is_set():
            raise Stopped("stopped while decoding")
        packet = av.Packet(reader.read(row))
        packet.pts = int(video.at[row])
        skip_unused(decoder, before=packet.pts < whole)
        try:
            shown = decoder.decode(packet)
        except av.error.FFmpegError:
            spoiled.add(packet.pts)  # later frames may still be whole
            continue
        yield from ((frame.pts, frame) for frame in shown if frame.pts is not None)
    try:
        yield from ((frame.pts, frame) for frame in decoder.decode(None) if frame.pts is not None)
    except av.error.FFmpegError:
        return
