"""The moov box of a progressive movie (ISO/IEC 14496-12, 8.2 to 8.7)."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from services.clipper.movie.layout import Chunks
from services.clipper.movie.moov_types import Edit, MovieTrack
from shared.media.model import Int64s
from shared.media.mp4.boxes import Mp4Error, box, full_box
from shared.media.mp4.init import MATRIX, media_header, media_info, sample_descriptions, track_header
from shared.media.segment_files import AUDIO_ID

__all__ = ["Edit", "MovieTrack", "build_moov", "check_track", "movie_timescale"]

LIMIT32 = 0xFFFFFFFF


def check_track(track: MovieTrack) -> None:
    """Raise Mp4Error for a sample table that no MP4 can hold."""
    samples, count = track.samples, len(track.samples)
    columns = (samples.pts, samples.duration, samples.size, samples.sync, samples.offset, samples.source)
    if any(len(column) != count for column in columns) or (track.entry is not None and len(track.entry) != count):
        raise Mp4Error("sample table's columns differ in length")
    if np.any(np.diff(samples.dts) <= 0) or samples.duration[-1] <= 0:
        raise Mp4Error("decode times must rise")
    if np.any(samples.size <= 0) or np.any(samples.size > LIMIT32) or np.any(samples.offset < 0):
        raise Mp4Error("sample sizes make no sense")
    if np.any(np.diff(samples.dts) > LIMIT32) or np.any(np.abs(samples.pts - samples.dts) > 0x7FFFFFFF):
        raise Mp4Error("sample times lie too far apart")
    if np.any(samples.source < 0) or np.any(samples.source >= len(samples.files)):
        raise Mp4Error("sample of an unknown file")
    entries = len(track.extra_entries) + 1
    if track.entry is not None and (np.any(track.entry < 0) or np.any(track.entry >= entries)):
        raise Mp4Error("sample of an unknown sample entry")


def movie_timescale(tracks: Sequence[MovieTrack], duration: Fraction) -> int:
    """Choose the movie's timescale: one in which every track's ticks are whole, if durations then fit 32 bits."""
    exact = math.lcm(*(t.config.timescale for t in tracks))
    return exact if duration * exact < LIMIT32 else tracks[0].config.timescale


def build_moov(
    tracks: Sequence[MovieTrack],
    chunks: Sequence[Chunks],
    offsets: Sequence[Int64s],
    span: tuple[Fraction, Fraction, int],
    *,
    wide: bool,
) -> bytes:
    """Build moov; `offsets` are the chunks' offsets in the file, `span` the window and the movie's timescale."""
    start, end, scale = span
    traks = [_trak(t, c, o, span, wide=wide) for t, c, o in zip(tracks, chunks, offsets, strict=True)]
    duration = max(round((end - start) * scale), *(length for length, _ in traks))
    layout, version = (">QQIQ", 1) if duration > LIMIT32 else (">IIII", 0)
    header = full_box(b"mvhd", version, 0, struct.pack(layout, 0, 0, scale, duration),
                      struct.pack(">IH10x", 0x10000, 0x100), MATRIX, bytes(24),
                      struct.pack(">I", max(t.config.track_id for t in tracks) + 1))  # fmt: skip
    return box(b"moov", header, *(trak for _, trak in traks))


def _trak(
    track: MovieTrack, chunks: Chunks, offsets: Int64s, span: tuple[Fraction, Fraction, int], *, wide: bool
) -> tuple[int, bytes]:
    """Return a track's duration (movie ticks) and its trak box."""
    samples, scale = track.samples, span[2]
    edits = _edits(track, span[0], span[1]) if track.edits is None else track.edits
    shift = -int((samples.pts - samples.dts).min())  # composition offsets are stored from 0 on
    media = int(samples.dts[-1] - samples.dts[0] + samples.duration[-1])
    lengths = [round(Fraction(e.duration * scale, track.config.timescale)) for e in edits]
    media_times = [-1 if e.start is None else e.start - int(samples.dts[0]) + shift for e in edits]
    duration = sum(lengths)
    whole = media_times == [0] and edits[0].duration == media
    table = _sample_table(track, chunks, offsets, shift, wide=wide)
    information = box(b"minf", *media_info(track.config), table)
    parts = (
        b"" if whole else _edit_list(lengths, media_times),
        box(b"mdia", *media_header(track.config, media), information),
    )
    return duration, box(
        b"trak", track_header(track.config, duration, enabled=track.config.track_id <= AUDIO_ID), *parts
    )


def _edits(track: MovieTrack, start: Fraction, end: Fraction) -> tuple[Edit, ...]:
    """Return edits that present the track's part of [start, end) in seconds, after an empty edit if it begins later."""
    samples, scale = track.samples, track.config.timescale
    begin, stop = round(start * scale), round(end * scale)
    first = max(begin, int(samples.pts.min()))
    last = min(stop, int((samples.pts + samples.duration).max()))
    if last <= first:
        raise Mp4Error(f"track {track.config.track_id} has nothing in the window")
    shown = Edit(first, last - first)
    return (Edit(None, first - begin), shown) if first > begin else (shown,)


def _edit_list(lengths: Sequence[int], media_times: Sequence[int]) -> bytes:
    wide = max(*lengths, *media_times) > 0x7FFFFFFF
    rows = [struct.pack(">QqI" if wide else ">IiI", length, media_time, 0x10000)
            for length, media_time in zip(lengths, media_times, strict=True)]  # fmt: skip
    return box(b"edts", full_box(b"elst", int(wide), 0, struct.pack(">I", len(rows)), *rows))


def _sample_table(track: MovieTrack, chunks: Chunks, offsets: Int64s, shift: int, *, wide: bool) -> bytes:
    """Build stbl; `shift` is added to composition offsets, so that none is negative."""
    samples = track.samples
    deltas = np.append(np.diff(samples.dts), samples.duration[-1])
    composition = samples.pts - samples.dts + shift
    parts = [sample_descriptions((track.config.sample_entry, *track.extra_entries)),
             full_box(b"stts", 0, 0, _run_lengths(deltas))]  # fmt: skip
    if np.any(composition):
        parts.append(full_box(b"ctts", 0, 0, _run_lengths(composition)))
    if not np.all(samples.sync):
        parts.append(full_box(b"stss", 0, 0, _numbers(np.flatnonzero(samples.sync) + 1)))
    parts += [full_box(b"stsc", 0, 0, _chunk_runs(chunks)), full_box(b"stsz", 0, 0, _sizes(samples.size))]
    parts.append(full_box(b"co64" if wide else b"stco", 0, 0, _numbers(offsets, ">u8" if wide else ">u4")))
    return box(b"stbl", *parts)


def _numbers(values: npt.NDArray[np.int64], kind: str = ">u4") -> bytes:
    return struct.pack(">I", len(values)) + values.astype(kind).tobytes()


def _run_lengths(values: Int64s) -> bytes:
    """Return values as (count, value) pairs, one per run of equal values."""
    first = np.flatnonzero(np.append(True, np.diff(values) != 0))
    counts = np.diff(np.append(first, len(values)))
    return struct.pack(">I", len(first)) + np.stack((counts, values[first]), axis=1).astype(">u4").tobytes()


def _chunk_runs(chunks: Chunks) -> bytes:
    """Return stsc: (first chunk, samples per chunk, sample entry) at each change, numbered from 1."""
    changes = (np.diff(chunks.count) != 0) | (np.diff(chunks.entry) != 0)
    first = np.flatnonzero(np.append(True, changes))
    rows = np.stack((first + 1, chunks.count[first], chunks.entry[first] + 1), axis=1)
    return struct.pack(">I", len(first)) + rows.astype(">u4").tobytes()


def _sizes(sizes: Int64s) -> bytes:
    if np.all(sizes == sizes[0]):
        return struct.pack(">II", int(sizes[0]), len(sizes))
    return struct.pack(">II", 0, len(sizes)) + sizes.astype(">u4").tobytes()
