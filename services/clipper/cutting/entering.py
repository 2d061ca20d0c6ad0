"""Copying from an H.264 I picture that is no IDR, with the pictures after it renumbered from there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from threading import Event

import av
import numpy as np

from services.clipper.cutting.decode import decode_rows
from services.clipper.cutting.gops import entry_at, nals_at
from services.clipper.cutting.plan import ClipSpan
from services.clipper.cutting.samples import SampleReader
from shared.media.bitstream.errors import BitstreamError
from shared.media.bitstream.h264_entry import EntryRenumber
from shared.media.bitstream.nal import RandomAccess, join_sample
from shared.media.bitstream.records import length_size_of, sets_of, with_gaps
from shared.media.model import Int64s
from shared.media.mp4.boxes import Mp4Error
from shared.media.seams.errors import Stopped
from shared.media.transcode.decoder import picture_decoder
from shared.media.transcode.recorded import recorded_track

# How many pictures from the entry on are decoded and compared with the recording's, bit for bit.
COMPARED = 60


def counted_rows(span: ClipSpan, rows: Int64s, reader: SampleReader) -> Int64s:
    """Return the rows that are numbered from the entry (the first of `rows`) on: those before the next IDR picture."""
    syncs = np.flatnonzero(span.video.table.sync[rows])
    clean = (at for at in syncs.tolist() if at and entry_at(span.video, int(rows[at]), reader) is RandomAccess.CLEAN)
    return rows[: next(clean, len(rows))]


def counted_samples(span: ClipSpan, rows: Int64s, reader: SampleReader, stop: Event) -> Iterator[bytes]:
    """Rewrite samples so that the first is an IDR picture; keep damaged ones as they are. BitstreamError, Stopped."""
    renumber = EntryRenumber(sets_of(span.video.config))
    size = length_size_of(span.video.config)
    for number, row in enumerate(rows.tolist()):
        if stop.is_set():
            raise Stopped("stopped while copying")
        nals = nals_at(span.video, row, reader)
        if not number:
            yield join_sample(renumber.entry(nals), size)
            continue
        try:
            yield join_sample(renumber.following(nals), size) if nals else reader.read(row)
        except (BitstreamError, Mp4Error):
            yield reader.read(row)


def check_entry(span: ClipSpan, rows: Int64s, reader: SampleReader, stop: Event) -> None:
    """Decode the first pictures as recorded and as rewritten; BitstreamError unless they are the same."""
    video, rows = span.video, rows[:COMPARED]
    config = replace(video.config, sample_entry=with_gaps(video.config))
    decoder = picture_decoder(recorded_track(config), strict=True, threads=0)
    shown: dict[int, av.VideoFrame] = {}
    try:
        for row, sample in zip(rows.tolist(), counted_samples(span, rows, reader, stop), strict=True):
            packet = av.Packet(sample)
            packet.pts = int(video.at[row])
            shown.update((frame.pts, frame) for frame in decoder.decode(packet) if frame.pts is not None)
        shown.update((frame.pts, frame) for frame in decoder.decode(None) if frame.pts is not None)
    except av.error.FFmpegError as error:
        raise BitstreamError(f"pictures behind an entry do not decode: {error.strerror}") from error
    for found in decode_rows(video, rows, reader, stop):
        made = shown.get(found.at)
        if found.whole and found.frame is not None and (made is None or not _same(made, found.frame)):
            raise BitstreamError("pictures behind an entry need what is before it")


def _same(one: av.VideoFrame, other: av.VideoFrame) -> bool:
    return bool(np.array_equal(one.to_ndarray(), other.to_ndarray()))
