"""Reading fragments back as sample tables, from box headers and moofs alone (ISO/IEC 14496-12, 8.8)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from shared.media.model import Int64s, SampleTable
from shared.media.mp4.boxes import Box, Mp4Error, children, read_header, unpack

FIRST_READ = 4096  # a part's moof of half a second takes under 1 KiB
MAX_MOOF = 1 << 24
NON_SYNC_BIT = 0x10000
# Optional fields of tfhd and trun in the order in which they are stored, as (flag, struct code).
TFHD_FIELDS = ((0x1, "Q"), (0x2, "I"), (0x8, "I"), (0x10, "I"), (0x20, "I"))
ROW_DURATION, ROW_SIZE, ROW_FLAGS, ROW_CTS = ROW_FIELDS = (0x100, 0x200, 0x400, 0x800)


@dataclass(frozen=True, slots=True)
class FragmentTables:
    """Samples by track id, and for each file the bytes of its whole parts (less than its size when cut short)."""

    tables: dict[int, SampleTable]
    valid: tuple[int, ...]
    heads: tuple[bytes, ...]


class _Layout(NamedTuple):
    """The fields in a run's rows, and default values for the fields that they lack."""

    flags: int
    duration: int
    size: int
    sample_flags: int


class _Run(NamedTuple):
    """Samples of one trun; `first`: the flags of the first one, -1 where it has those of its row."""

    layout: _Layout
    first: int
    source: int
    dts: int
    offset: int
    samples: int
    rows: bytes


def read_fragments(paths: Path | Sequence[Path]) -> FragmentTables:
    """Read the parts of one file, or of many as one recording; an incomplete last part is left out.

    `heads` are each file's bytes before its first moof. OSError when a file cannot be read,
    Mp4Error when a whole moof makes no sense or a sample lies outside its file's whole parts.
    """
    files = (paths,) if isinstance(paths, Path) else tuple(paths)
    runs: dict[int, list[_Run]] = {}
    valid, heads = [], []
    for source, path in enumerate(files):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            end, head = _read_file(fd, source, runs)
        finally:
            os.close(fd)
        valid.append(end)
        heads.append(head)
    limits = np.array(valid, np.int64)
    return FragmentTables({t: _table(r, files, limits) for t, r in runs.items()}, tuple(valid), tuple(heads))


def _read_file(fd: int, source: int, runs: dict[int, list[_Run]]) -> tuple[int, bytes]:
    """Add the runs of one file's whole parts to `runs`; return the parts' end, and the bytes before the first."""
    size = os.fstat(fd).st_size
    at = valid = 0
    head: bytes | None = None
    moof, start = b"", 0
    data, base = b"", 0
    while at + 8 <= size:
        if at + 16 > base + len(data):
            data, base = os.pread(fd, FIRST_READ, at), at
        try:
            found = read_header(data, at - base, size - base)
        except Mp4Error:
            break
        if found.kind == b"moof" and found.end - found.start <= MAX_MOOF:
            head = os.pread(fd, at, 0) if head is None else head
            if found.end > len(data):
                data, base = os.pread(fd, found.end - found.start + 16, at), at
                found = read_header(data, 0, size - base)
            moof, start = data[found.start : found.end], at
        elif found.kind == b"mdat" and moof:
            for track, run in _runs(moof, start, source):
                runs.setdefault(track, []).append(run)
            moof, valid = b"", base + found.end
        at = base + found.end
    return valid, head or b""


def _runs(moof: bytes, at: int, source: int) -> Iterator[tuple[int, _Run]]:
    """Yield the runs of a moof that lies at `at` in file number `source`."""
    for traf in children(moof, read_header(moof, 0, len(moof)).body):
        if traf.kind != b"traf":
            continue
        track, base, dts = 0, at, 0
        defaults = (0, 0, 0)
        previous: _Run | None = None
        for child in children(moof, traf.body, traf.end):
            if child.kind == b"tfhd":
                track, base, defaults = _track_fragment(moof, child, at)
            elif child.kind == b"tfdt":
                wide = unpack("B", moof, child.body, child.end)[0] == 1
                dts = _sane(unpack("Q" if wide else "I", moof, child.body + 4, child.end)[0])
            elif child.kind == b"trun":
                if previous is not None:
                    dts = previous.dts + _total(previous, ROW_DURATION)
                previous = _run(moof, child, source, dts, base, previous, defaults)
                yield track, previous


def _track_fragment(moof: bytes, tfhd: Box, at: int) -> tuple[int, int, tuple[int, int, int]]:
    """Read tfhd: (track id, base of offsets, defaults of duration, size and flags)."""
    flags, track = unpack("II", moof, tfhd.body, tfhd.end)
    present = [(flag, code) for flag, code in TFHD_FIELDS if flags & flag]
    values = unpack("".join(code for _, code in present), moof, tfhd.body + 8, tfhd.end)
    fields = dict(zip((flag for flag, _ in present), values, strict=True))
    return track, _sane(fields.get(0x1, at)), (fields.get(0x8, 0), fields.get(0x10, 0), fields.get(0x20, 0))


def _sane(number: int) -> int:
    """Return the number; Mp4Error when it is so large that sums could overflow 64 bits, as no real offset is."""
    if number >= 1 << 61:
        raise Mp4Error("time or offset beyond all measure")
    return number


def _run(
    moof: bytes, trun: Box, source: int, dts: int, base: int, previous: _Run | None, defaults: tuple[int, int, int]
) -> _Run:
    """Read a trun whose first sample decodes at `dts`."""
    flags, count = unpack("II", moof, trun.body, trun.end)
    at = trun.body + 8
    first = -1
    if flags & 0x1:
        offset = base + unpack("i", moof, at, trun.end)[0]
        at += 4
    else:
        offset = base if previous is None else previous.offset + _total(previous, ROW_SIZE)
    if flags & 0x4:
        first = unpack("I", moof, at, trun.end)[0]
        at += 4
    width = 4 * sum(1 for flag in ROW_FIELDS if flags & flag)
    if at + width * count > trun.end or count > MAX_MOOF:
        raise Mp4Error("trun is cut short")
    rows = moof[at : at + width * count]
    return _Run(_Layout(flags & 0xF00, *defaults), first, source, dts, offset, count, rows)


def _column(rows: npt.NDArray[np.uint32], flags: int, field: int, default: int) -> Int64s:
    """Return a field's column of the rows, or its default for each row."""
    if not flags & field:
        return np.full(rows.shape[0], default, np.int64)
    return rows[:, sum(1 for f in ROW_FIELDS if f < field and flags & f)].astype(np.int64)


def _rows(runs: Sequence[_Run]) -> npt.NDArray[np.uint32]:
    """Return the rows of runs of one layout as a matrix, a row per sample."""
    width = sum(1 for flag in ROW_FIELDS if runs[0].layout.flags & flag)
    data = np.frombuffer(b"".join(r.rows for r in runs), ">u4")
    return data.reshape(sum(r.samples for r in runs), width)


def _total(run: _Run, field: int) -> int:
    default = run.layout.duration if field == ROW_DURATION else run.layout.size
    return int(_column(_rows([run]), run.layout.flags, field, default).sum())


def _restart(values: Int64s, counts: Int64s, firsts: Int64s) -> Int64s:
    """Return running sums of `values` within each run of `counts` rows, starting at each run's first value."""
    before = np.cumsum(values) - values
    starts = np.cumsum(counts) - counts
    restarted: Int64s = before + np.repeat(firsts - before[starts], counts)
    return restarted


def _table(runs: list[_Run], files: tuple[Path, ...], limits: Int64s) -> SampleTable:
    """Join runs of one track, in order, into one table."""
    runs = [r for r in runs if r.samples]
    groups = [_group(layout, list(same), files) for layout, same in groupby(runs, key=lambda r: r.layout)]
    table = groups[0] if len(groups) == 1 else _joined(groups, files)
    if np.any(table.offset < 0) or np.any(table.offset + table.size > limits[table.source]):
        raise Mp4Error("a sample lies outside its file")
    return table


def _joined(groups: Sequence[SampleTable], files: tuple[Path, ...]) -> SampleTable:
    nothing = np.zeros(0, np.int64)
    dts, pts, duration, size, offset, source = (
        np.concatenate([nothing, *(getattr(group, name) for group in groups)])
        for name in ("dts", "pts", "duration", "size", "offset", "source")
    )
    sync = np.concatenate([np.zeros(0, np.bool_), *(group.sync for group in groups)])
    return SampleTable(dts, pts, duration, size, sync, offset, source, files)


def _group(layout: _Layout, runs: list[_Run], files: tuple[Path, ...]) -> SampleTable:
    """Return the samples of runs of one layout; of hours, no column is made twice."""
    rows = _rows(runs)
    counts = np.array([r.samples for r in runs], np.int64)
    duration = _column(rows, layout.flags, ROW_DURATION, layout.duration)
    size = _column(rows, layout.flags, ROW_SIZE, layout.size)
    flags = _column(rows, layout.flags, ROW_FLAGS, layout.sample_flags)
    firsts = np.array([r.first for r in runs], np.int64)
    flags[(np.cumsum(counts) - counts)[firsts >= 0]] = firsts[firsts >= 0]
    sync = (flags & NON_SYNC_BIT) == 0
    dts = pts = _restart(duration, counts, np.array([r.dts for r in runs], np.int64))
    offset = _restart(size, counts, np.array([r.offset for r in runs], np.int64))
    if layout.flags & ROW_CTS:
        pts = dts + _column(rows, layout.flags, ROW_CTS, 0).astype(np.uint32).view(np.int32)
    source = np.repeat(np.array([r.source for r in runs], np.int64), counts)
    return SampleTable(dts, pts, duration, size, sync, offset, source, files)
