"""Read the sample tables of a usual local mp4: H.264, AAC, no fragments, one edit per track (ADR 20).

Files are untrusted: the data read, and the memory for it, are bounded by the file's size and by the limits here.

Sources: ISO/IEC 14496-12 (8.3 to 8.7), ISO/IEC 14496-15 (5.3.3.1); of edits, libavformat/mov.c (mov_fix_index).
"""

from __future__ import annotations

from itertools import islice
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

from services.restreamer.model import Kind, SourceError
from services.restreamer.sources.containers.payloads import LENGTH
from services.restreamer.sources.mp4.samples import Numbers, Samples
from services.restreamer.sources.origins.files import LocalFile
from shared.media.bitstream.params import length_size
from shared.media.model import Int64s
from shared.media.mp4.boxes import Box, Mp4Error, children, read_header, unpack

Number = TypeVar("Number", np.uint32, np.int32)

MOST_SAMPLES: Final = 3 << 19
"""Samples of both tracks: five hours at 30 pictures a second, with audio; 20 to 36 bytes of memory each."""
MOST_MOOV: Final = 1 << 25
MOST_SAMPLE: Final = 1 << 25
_MOST_BOXES: Final = 256  # in a box
_MOST_TOP: Final = 1024
_LONGEST: Final = 1 << 28  # ticks of a sample's duration or composition offset: FFmpeg's limit
_MOST_SCALE: Final = 100_000_000  # ticks a second
_VIDEO_ENTRY, _FULL = 78, 4  # bytes before the boxes of a sample entry, and of a full box's version and flags
_NORMAL: Final = 0x10000  # an edit's rate
_HANDLERS: Final[dict[bytes, Kind]] = {b"vide": "video", b"soun": "audio"}
_ODD_GROUPS: Final = frozenset((b"rap ", b"sync"))  # groups of further entry samples
_FRAGMENTS: Final = frozenset((b"moof", b"mvex", b"mfra", b"sidx"))


def read_samples(file: LocalFile, size: int) -> list[Samples] | None:
    """Return the tables of a file's first video, and of its first audio if any. None when the file is unusual."""
    try:
        moov = _moov(file, size)
        return None if moov is None else _tracks(moov, size)
    except (Mp4Error, SourceError):
        return None


def _moov(file: LocalFile, size: int) -> bytes | None:
    """Return the moov; None when it is missing, or the file has anything unusual besides."""
    at, found = 0, b""
    for _ in range(_MOST_TOP):
        head = bytearray(16)
        head = head[: file.read_at(at, memoryview(head))]
        box = read_header(bytes(head), 0, size - at)
        if box.kind in _FRAGMENTS or (box.kind == b"moov" and (found or box.end > MOST_MOOV)):
            return None
        if box.kind == b"moov":
            file.seek(at + box.body)
            found = file.read(box.end - box.body)
            if len(found) < box.end - box.body:
                return None
        at += box.end
        if at >= size:
            return found or None
    return None


def _inside(data: bytes, within: Box | None) -> dict[bytes, Box]:
    """Return the boxes of a box by kind; raise Mp4Error when a kind of _ONCE comes twice, which is ambiguous."""
    found: dict[bytes, Box] = {}
    for box in _few(data, within):
        if box.kind in found and box.kind in _ONCE:
            raise Mp4Error(f"two boxes {box.kind!r}")
        found.setdefault(box.kind, box)
    return found


_ONCE: Final = frozenset(
    (b"mvhd", b"tkhd", b"mdia", b"mdhd", b"hdlr", b"minf", b"stbl", b"edts", b"elst",
     b"stsd", b"stts", b"ctts", b"stsc", b"stsz", b"stco", b"co64", b"stss", b"avcC")
)  # fmt: skip


def _few(data: bytes, within: Box | None) -> list[Box]:
    start, end = (0, len(data)) if within is None else (within.body, within.end)
    found = list(islice(children(data, start, end), _MOST_BOXES + 1))
    if len(found) > _MOST_BOXES:
        raise Mp4Error("too many boxes")
    return found


def _tracks(moov: bytes, size: int) -> list[Samples] | None:
    boxes = _few(moov, None)
    if any(box.kind in _FRAGMENTS for box in boxes):
        return None
    scale = _timescale(moov, _only(_inside(moov, None), b"mvhd"))
    chosen: dict[Kind, Samples] = {}
    for trak in (box for box in boxes if box.kind == b"trak"):
        inside = _inside(moov, trak)
        mdia = _inside(moov, _only(inside, b"mdia"))
        at = _only(mdia, b"hdlr").body + 8
        kind = _HANDLERS.get(moov[at : at + 4])
        if kind is not None and kind not in chosen:
            edits = _edits(moov, inside)
            chosen[kind] = _track(moov, kind, mdia, size, (edits, scale))
    found = [chosen[kind] for kind in ("video", "audio") if kind in chosen]
    return found if "video" in chosen and sum(map(len, found)) <= MOST_SAMPLES else None


def _only(boxes: dict[bytes, Box], kind: bytes) -> Box:
    if kind not in boxes:
        raise Mp4Error(f"no box {kind!r}")
    return boxes[kind]


def _timescale(data: bytes, head: Box) -> int:
    """Return the ticks a second from an mvhd or mdhd."""
    (version,) = unpack("B", data, head.body, head.end)
    (scale,) = unpack("I", data, head.body + (20 if version == 1 else 12), head.end)
    if version > 1 or not 0 < scale <= _MOST_SCALE:
        raise Mp4Error("no timescale")
    return scale


def _edits(data: bytes, trak: dict[bytes, Box]) -> tuple[int, int] | None:
    """Return the duration (the movie's ticks) and media time of a track's single edit; None without an edit list."""
    elst = _inside(data, trak[b"edts"]).get(b"elst") if b"edts" in trak else None
    if elst is None:
        return None
    version, count = unpack("B3xI", data, elst.body, elst.end)
    if version > 1 or not 0 < count <= 2:
        raise Mp4Error("too many edits")
    layout, length = ("Qqi", 20) if version else ("Iii", 12)
    found = [unpack(layout, data, elst.body + 8 + n * length, elst.end) for n in range(count)]
    if count == 2 and found[0][1] != -1:
        raise Mp4Error("two edits")
    duration, time, rate = found[-1]
    if time < 0 or not 0 < duration < 1 << 40 or rate != _NORMAL or time >= 1 << 40:
        raise Mp4Error("an unusual edit")
    return duration, time


def _track(
    data: bytes, kind: Kind, mdia: dict[bytes, Box], size: int, edit: tuple[tuple[int, int] | None, int]
) -> Samples:
    """Return a track's tables. Raise Mp4Error when they are unusual."""
    timescale = _timescale(data, _only(mdia, b"mdhd"))
    found = _only(_inside(data, _only(mdia, b"minf")), b"stbl")
    stbl = _inside(data, found)
    config = _config(data, kind, _only(stbl, b"stsd"))
    groups = (data[box.body + _FULL : box.body + _FULL + 4] for box in _few(data, found) if box.kind == b"sbgp")
    odd = not _ODD_GROUPS.isdisjoint(groups)
    if odd or b"stps" in stbl or b"stz2" in stbl or (kind == "audio" and (b"ctts" in stbl or b"stss" in stbl)):
        raise Mp4Error("an unusual table")
    sizes = _sizes(data, _only(stbl, b"stsz"))
    count = len(sizes)
    offsets = _offsets(data, stbl, sizes)
    if int(offsets.min()) < 8 or int((offsets + sizes).max()) > size:
        raise Mp4Error("samples that are not in the file")
    lengths, deltas = _rows(data, _only(stbl, b"stts"), 2)
    durations = _spread(deltas, lengths, count)
    if int(deltas.min()) < 1 or int(deltas.max()) > _LONGEST or (kind == "audio" and int(deltas.max()) == 1):
        raise Mp4Error("unusual durations")
    dts = np.zeros(count, np.int64)
    np.cumsum(durations[:-1], dtype=np.int64, out=dts[1:])
    shown = np.broadcast_to(np.zeros(1, np.int32), count)
    if b"ctts" in stbl:
        lengths, offset = _rows(data, stbl[b"ctts"], 2)
        by = offset.view(np.int32)
        if int(by.min()) < -_LONGEST or int(by.max()) > _LONGEST:
            raise Mp4Error("unusual composition offsets")
        shown = _spread(by, lengths, count)
    samples = Samples(kind, timescale, config, dts, shown, durations, sizes, offsets, _sync(data, kind, stbl, count))
    return samples if edit[0] is None else _edited(samples, edit[0], edit[1], composed=b"ctts" in stbl)


def _config(data: bytes, kind: Kind, stsd: Box) -> bytes:
    """Check that there is one entry, of the usual codec; return a video's configuration."""
    (count,) = unpack("I", data, stsd.body + _FULL, stsd.end)
    entry = read_header(data, stsd.body + 8, stsd.end)
    if count != 1 or entry.kind not in ((b"avc1", b"avc3") if kind == "video" else (b"mp4a",)):
        raise Mp4Error("unusual sample entries")
    if kind == "audio":
        return b""
    boxes = _inside(data, Box(entry.kind, entry.start, entry.body + _VIDEO_ENTRY, entry.end))
    avcc = _only(boxes, b"avcC")
    config = data[avcc.body : avcc.end]
    if config[:1] != b"\1" or length_size("h264", config) != LENGTH:
        raise Mp4Error("unusual lengths of NAL units")
    return config


def _rows(data: bytes, table: Box, columns: int) -> tuple[Numbers, ...]:
    """Return a table's columns of 32 bits."""
    _, count = unpack("II", data, table.body, table.end)
    if not 0 < count <= MOST_SAMPLES or table.body + 8 + count * columns * 4 > table.end:
        raise Mp4Error("a table that is not there")
    rows = np.frombuffer(data, ">u4", count * columns, table.body + 8).reshape(count, columns)
    return tuple(rows[:, n].astype(np.uint32) for n in range(columns))


def _spread(values: npt.NDArray[Number], lengths: Numbers, count: int) -> npt.NDArray[Number]:
    """Return each sample's value by its row; the rows must cover exactly all samples."""
    if int(lengths.sum(dtype=np.int64)) != count or not lengths.all():
        raise Mp4Error("a table for another number of samples")
    return np.broadcast_to(values, count) if len(values) == 1 else np.repeat(values, lengths)


def _sizes(data: bytes, stsz: Box) -> Numbers:
    _, same, count = unpack("III", data, stsz.body, stsz.end)
    if same or not 0 < count <= MOST_SAMPLES or stsz.body + 12 + count * 4 > stsz.end:
        raise Mp4Error("unusual sizes")
    sizes = np.frombuffer(data, ">u4", count, stsz.body + 12).astype(np.uint32)
    if not sizes.all() or int(sizes.max()) > MOST_SAMPLE:
        raise Mp4Error("unusual sizes")
    return sizes


def _offsets(data: bytes, stbl: dict[bytes, Box], sizes: Numbers) -> Int64s:
    """Return each sample's offset: after the previous one in its chunk."""
    if (b"stco" in stbl) == (b"co64" in stbl):
        raise Mp4Error("no chunk offsets, or two")
    if b"stco" in stbl:
        chunks = _rows(data, stbl[b"stco"], 1)[0].astype(np.int64)
    else:
        box = stbl[b"co64"]
        _, many = unpack("II", data, box.body, box.end)
        if not 0 < many <= MOST_SAMPLES or box.body + 8 + many * 8 > box.end:
            raise Mp4Error("a table that is not there")
        chunks = np.frombuffer(data, ">u8", many, box.body + 8).astype(np.int64)
    first, held, entry = (column.astype(np.int64) for column in _rows(data, _only(stbl, b"stsc"), 3))
    runs = np.diff(first, append=len(chunks) + 1)
    usual = first[0] == 1 and runs.min() > 0 and held.min() > 0 and held.max() <= len(sizes) and (entry == 1).all()
    if not usual or int((runs * held).sum()) != len(sizes) or int(chunks.min()) < 0 or int(chunks.max()) > 1 << 56:
        raise Mp4Error("unusual chunks")
    each = np.repeat(held, runs)
    begins = np.cumsum(each) - each  # the first sample of each chunk
    before = np.cumsum(sizes, dtype=np.int64) - sizes
    placed: Int64s = before + np.repeat(chunks - before[begins], each)
    return placed


def _sync(data: bytes, kind: Kind, stbl: dict[bytes, Box], count: int) -> Int64s:
    if kind == "audio":
        return np.empty(0, np.int64)
    if b"stss" not in stbl:
        return np.arange(count, dtype=np.int64)
    found = _rows(data, stbl[b"stss"], 1)[0].astype(np.int64) - 1
    if found[0] != 0 or found[-1] >= count or (len(found) > 1 and np.diff(found).min() < 1):
        raise Mp4Error("unusual keyframes")
    return found


def _edited(found: Samples, edit: tuple[int, int], scale: int, *, composed: bool) -> Samples:
    """Drop the samples after an edit's end, as FFmpeg does: keep all up to the first sample that reaches the end.

    For video that is a keyframe (the second one, if pictures are reordered). Raise Mp4Error when the edit does not
    start at the first sample.
    """
    time = edit[1]
    end = time + (edit[0] * found.timescale + scale // 2) // scale
    shown = found.dts + found.shown
    if found.kind == "audio":
        late = len(found) > 1 and time >= found.timescale + int(found.dts[1])
    else:
        late = len(found.sync) > 1 and int(shown[found.sync[1]]) <= time
    if late:
        raise Mp4Error("an edit that begins later")
    beyond = np.flatnonzero(shown + found.duration >= end)
    if found.kind == "video":
        beyond = np.intersect1d(beyond, found.sync, assume_unique=True)
    wanted = 2 if composed and found.kind == "video" else 1
    kept = int(beyond[wanted - 1]) + 1 if len(beyond) >= wanted else len(found)
    inside = np.flatnonzero((shown[:kept] >= time) & (shown[:kept] < end))
    if not len(inside):
        raise Mp4Error("an edit of nothing")
    begin = time if found.kind == "audio" else int(found.dts[inside[0]])
    return Samples(
        found.kind, found.timescale, found.config, found.dts[:kept], found.shown[:kept], found.duration[:kept],
        found.size[:kept], found.offset[:kept], found.sync[: int(np.searchsorted(found.sync, kept))],
        int(shown[inside].min()) - begin,
    )  # fmt: skip
