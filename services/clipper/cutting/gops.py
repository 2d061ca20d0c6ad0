"""Splitting a span into what can be copied and the few frames at its ends that must be encoded.

Copying can begin at any entry, and end after any frame in decode order that leaves no hole: only frames whose
references are cut off need encoding. At an out point these are at most the frames of one B-frame group, and none
when decode order is presentation order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from services.clipper.cutting.plan import ClipSpan
from services.clipper.cutting.samples import SampleReader
from shared.media.bitstream import av1, vp9
from shared.media.bitstream.av1 import scene_obus, split_obus
from shared.media.bitstream.errors import BitstreamError
from shared.media.bitstream.h264_entry import is_intra, recovery_count
from shared.media.bitstream.nal import RandomAccess, entry_of, join_sample, split_sample
from shared.media.bitstream.records import length_size_of, video_codec
from shared.media.bitstream.sei import picture_sei, static_sei, with_picture_sei
from shared.media.model import Int64s
from shared.media.mp4.boxes import Mp4Error
from shared.media.seams.source import Video
from shared.media.tracks import FRAME_CODECS, TrackConfig

NOTHING = np.zeros(0, np.int64)


@dataclass(frozen=True, eq=False)
class Split:
    """Rows of a span's frames, each in decode order: encoded head, copied middle, encoded tail.

    `broken`: the first copied picture is an HEVC CRA, to be marked as a broken link when anything comes before it.
    `entered`: it is an H.264 I picture that is no IDR, from which the ones after it are to be renumbered.
    """

    head: Int64s
    copy: Int64s
    tail: Int64s
    broken: bool = False
    reason: str = ""
    entered: bool = False


def split_span(span: ClipSpan, reader: SampleReader, *, recovery: bool = True) -> Split:
    """Find the longest stretch of a span that can be copied; with `recovery`, also from an I picture that is no IDR."""
    video, chosen = span.video, span.frames
    open_entries = 0
    for row, entry in _entries(video, chosen, reader):
        entered = recovery and entry is RandomAccess.RECOVERY and is_entry(video, row, reader)
        if entered or entry in (RandomAccess.CLEAN, RandomAccess.LEADING):
            split = _split_at(video, chosen, row)
            if split is not None:
                reason = "open GOP at the in point" if entered or open_entries else ""
                return replace(split, broken=entry is RandomAccess.LEADING, reason=reason, entered=entered)
        open_entries += 1
    reason = "no picture in the range can be entered at once" if open_entries else "the range lies within one GOP"
    return Split(chosen, NOTHING, NOTHING, reason=reason)


def entry_at(video: Video, row: int, reader: SampleReader) -> RandomAccess:
    """Return how a decoder can enter at sample `row`; a damaged sample is no entry."""
    if video.config.codec in FRAME_CODECS:
        return RandomAccess.CLEAN if _is_key(video, row, reader) else RandomAccess.NONE
    return entry_of(video_codec(video.config), nals_at(video, row, reader))


def is_entry(video: Video, row: int, reader: SampleReader) -> bool:
    """Return whether a non-IDR H.264 picture decodes right at once: an I picture that is its own recovery point."""
    nals = nals_at(video, row, reader)
    try:
        return recovery_count(nals) == 0 and is_intra(nals)
    except Mp4Error:
        return False


def nals_at(video: Video, row: int, reader: SampleReader) -> list[bytes]:
    """Read the NAL units of sample `row`; none when it is damaged."""
    try:
        return split_sample(reader.read(row), length_size_of(video.config))
    except BitstreamError:
        return []


def scene_at(video: Video, row: int, reader: SampleReader) -> list[bytes]:
    """Return the units of sample `row` that describe the colour of a whole scene (HDR)."""
    if video.config.codec == "vp9":
        return []  # its container tells
    if video.config.codec == "av1":
        return [obu.whole for obu in scene_obus(_obus_at(row, reader))]
    return static_sei(video_codec(video.config), nals_at(video, row, reader))


def beside_at(video: Video, row: int, reader: SampleReader) -> list[bytes]:
    """Return the units of sample `row` that belong to its picture: captions, dynamic HDR, orientation."""
    if video.config.codec == "vp9":
        return []
    if video.config.codec == "av1":
        return [obu.whole for obu in _obus_at(row, reader) if obu.metadata == av1.ITU_T35]
    return picture_sei(video_codec(video.config), nals_at(video, row, reader))


def with_beside(config: TrackConfig, sample: bytes, units: list[bytes]) -> bytes:
    """Return an encoded sample with the units of its picture in the recording."""
    if config.codec in FRAME_CODECS:
        return av1.with_scene(sample, units) if units else sample
    codec, size = video_codec(config), length_size_of(config)
    return join_sample(with_picture_sei(codec, split_sample(sample, size), units), size)


def _obus_at(row: int, reader: SampleReader) -> list[av1.Obu]:
    """Read the OBUs of an AV1 sample; none when it is damaged."""
    try:
        return list(split_obus(reader.read(row)))
    except BitstreamError:
        return []


def _is_key(video: Video, row: int, reader: SampleReader) -> bool:
    sample = reader.read(row)
    try:
        return vp9.is_entry(sample) if video.config.codec == "vp9" else av1.is_entry(split_obus(sample))
    except (BitstreamError, Mp4Error):
        return False


def decode_start(video: Video, first_shown: int, reader: SampleReader) -> int:
    """Find the row at which decoding must start so that the frame at position `first_shown` comes out right."""
    syncs = np.flatnonzero(video.table.sync)
    usable = syncs[video.at[syncs] <= first_shown]
    if not len(usable):
        return int(syncs[0]) if len(syncs) else 0
    if len(usable) > 1 and entry_at(video, int(usable[-1]), reader) is RandomAccess.RECOVERY:
        return int(usable[-2])  # pictures may take some time to recover
    return int(usable[-1])


def _entries(video: Video, chosen: Int64s, reader: SampleReader) -> Iterator[tuple[int, RandomAccess]]:
    for row in chosen[video.table.sync[chosen]].tolist():
        yield row, entry_at(video, row, reader)


def _split_at(video: Video, chosen: Int64s, row: int) -> Split | None:
    """Split where copying begins at `row`; None when frames from before it are shown after it."""
    at, first = video.at, int(video.at[row])
    last = int(at[chosen].max())
    before = chosen[at[chosen] < first]
    if np.any(at[chosen[chosen < row]] > first):
        return None
    rows = np.arange(row, int(chosen.max()) + 1)
    rows = rows[at[rows] >= first]  # drop pictures that are shown before the first copied one
    beyond = np.flatnonzero(at[rows] > last)
    end = int(beyond[0]) if len(beyond) else len(rows)
    inside, later = at[rows[:end]], at[rows[end:]]
    missing = later[later <= last].min(initial=last + 1)
    lowest_left = np.minimum.accumulate(np.append(inside, missing)[::-1])[::-1]
    whole = np.flatnonzero(np.maximum.accumulate(inside) < lowest_left[1:])
    if not len(whole):
        return None
    count = int(whole[-1]) + 1
    copied = rows[:count]
    tail = chosen[at[chosen] > int(at[copied].max())]
    return Split(before, copied, tail)
