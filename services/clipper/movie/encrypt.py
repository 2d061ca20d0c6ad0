"""Encrypting a written clip: Common Encryption, scheme `cenc`, of a progressive MP4 (ISO/IEC 23001-7, 7 and 8).

A first pass finds which bytes of each picture are encrypted, because that stands in moov, before them; a second
encrypts. Memory holds the tables and no media.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from services.clipper.movie.sample_places import Places, chunk_offsets, places_of
from shared.media.cenc.cipher import SampleCipher
from shared.media.cenc.clear import read_info
from shared.media.cenc.entry import protected_entry
from shared.media.cenc.key import IV_SIZE, ContentKey
from shared.media.cenc.seal import Auxiliary, Ivs, info_of
from shared.media.cenc.subsamples import Splitter
from shared.media.mp4.boxes import Box, Mp4Error, box, children, full_box, need, read_header
from shared.media.mp4.entries import read_entry

TICK_EVERY: Final = 256
_LARGEST_MOOV: Final = 1 << 29
_LIMIT32: Final = 0xFFFFFFFF
Tick = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Encrypted:
    """A written file: its bytes and their sha256 in hex."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class _Track:
    """A track of the clear file, and what decrypting it will take."""

    table: Box
    places: Places
    told: Auxiliary


def encrypt_movie(clear: Path, out: Path, key: ContentKey, tick: Tick = lambda _: None) -> Encrypted:
    """Write a clip of ours, `clear`, to `out` with its samples encrypted; it appears whole or not at all.

    `tick` is called now and then; an exception from it ends the work. Mp4Error for a file that is not `ftyp moov
    mdat`, OSError from the disk.
    """
    temporary = out.with_name(f".{out.name}.{secrets.token_hex(4)}.part")
    source = os.open(clear, os.O_RDONLY | os.O_CLOEXEC)
    try:
        made = _encrypt(source, temporary, key, tick)
        temporary.replace(out)
    finally:
        os.close(source)
        temporary.unlink(missing_ok=True)
    return made


def _encrypt(source: int, out: Path, key: ContentKey, tick: Tick) -> Encrypted:
    ftyp, moov, media = _top(source)
    root = read_header(moov, 0, len(moov))
    traks = [child for child in children(moov, root.body, root.end) if child.kind == b"trak"]
    ivs = Ivs(secrets.randbits(8 * IV_SIZE))  # a key of the user's may encrypt other clips, too
    tracks = {trak.start: _track(source, moov, trak, ivs, tick) for trak in traks}
    before = len(ftyp) + len(moov) + media[1]
    growth = len(_moov(moov, root, tracks, key.kid, 0, 0)) - len(moov)
    head = ftyp + _moov(moov, root, tracks, key.kid, growth, len(ftyp))
    with out.open("xb", buffering=1 << 20) as file:
        digest = hashlib.sha256()
        size = 0
        for piece in _pieces(source, head, (before - media[1], media[1]), list(tracks.values()), key, tick):
            file.write(piece)
            digest.update(piece)
            size += len(piece)
        file.flush()
        os.fsync(file.fileno())
    if size != before + growth + media[0]:
        raise Mp4Error("samples do not fill the media")
    return Encrypted(size, digest.hexdigest())


def _top(source: int) -> tuple[bytes, bytes, tuple[int, int]]:
    """Return ftyp, moov, and the sizes of the media and of its box's header."""
    size, at, found = os.fstat(source).st_size, 0, dict[bytes, tuple[int, Box]]()
    while at < size:
        head = read_header(os.pread(source, 16, at).ljust(16, b"\0"), 0, size - at)
        found[head.kind] = at, head
        at += head.end
    if list(found) != [b"ftyp", b"moov", b"mdat"] or found[b"moov"][1].end > _LARGEST_MOOV:
        raise Mp4Error("not a clip of ours")
    (_, ftyp), (begin, moov), (_, mdat) = found.values()
    return (
        os.pread(source, ftyp.end, 0), os.pread(source, moov.end, begin), (mdat.end - mdat.body, mdat.body)
    )  # fmt: skip


def _track(source: int, moov: bytes, trak: Box, ivs: Ivs, tick: Tick) -> _Track:
    """Read a track's tables, and find what of its samples is encrypted."""
    table = need(moov, trak, b"mdia", b"minf", b"stbl")
    places = places_of(moov, table)
    stsd = need(moov, table, b"stsd")
    configs = [read_entry(moov[e.start : e.end], 1, 1) for e in children(moov, stsd.body + 8, stsd.end)]
    if any(config.codec not in {"h264", "hevc"} for config in configs):  # sound, and pictures without NAL units
        return _Track(table, places, Auxiliary(tuple(ivs.take() for _ in places.size), subsampled=False))
    splitters, infos = [Splitter(config) for config in configs], []
    for number, (at, size, entry) in enumerate(_listed(places)):
        if number % TICK_EVERY == 0:
            tick(0)
        infos.append(info_of(ivs.take(), splitters[entry].split(os.pread(source, size, at))))
    return _Track(table, places, Auxiliary(tuple(infos), subsampled=True))


def _listed(places: Places) -> Iterator[tuple[int, int, int]]:
    return zip(places.offset.tolist(), places.size.tolist(), places.entry.tolist(), strict=True)


def _moov(moov: bytes, root: Box, tracks: Mapping[int, _Track], kid: bytes, growth: int, at: int) -> bytes:
    """Return moov for samples `growth` bytes later in the file; moov itself lies at `at`."""
    made, size = [], 8
    for child in children(moov, root.body, root.end):
        track = tracks.get(child.start)
        part = moov[child.start : child.end]
        if track is not None:
            part = _within(moov, child, track, kid, growth, at + size)
        made.append(part)
        size += len(part)
    return box(b"moov", *made)


def _within(moov: bytes, parent: Box, track: _Track, kid: bytes, growth: int, at: int) -> bytes:
    """Return a box on the way to a track's stbl, which begins at `at`, with that one changed."""
    made, size = [], 8
    for child in children(moov, parent.body, parent.end):
        part = moov[child.start : child.end]
        if child.start == track.table.start:
            part = _table(moov, track, kid, growth, at + size)
        elif child.start < track.table.start < child.end:
            part = _within(moov, child, track, kid, growth, at + size)
        made.append(part)
        size += len(part)
    return box(parent.kind, *made)


def _table(moov: bytes, track: _Track, kid: bytes, growth: int, at: int) -> bytes:
    """Return stbl with protected sample entries, moved chunks, and what decrypting takes."""
    made = []
    for child in children(moov, track.table.body, track.table.end):
        if child.kind == b"stsd":
            entries = [moov[e.start : e.end] for e in children(moov, child.body + 8, child.end)]
            protected = [protected_entry(entry, kid) for entry in entries]
            made.append(full_box(b"stsd", 0, 0, struct.pack(">I", len(protected)), *protected))
        elif child.kind in (b"stco", b"co64"):
            made.append(_chunks(moov, track, growth))
        else:
            made.append(moov[child.start : child.end])
    return box(b"stbl", *made, track.told.boxes(at + 8 + sum(map(len, made))))


def _chunks(moov: bytes, track: _Track, growth: int) -> bytes:
    """Return moved chunk offsets: always of 64 bits where 32 could be too few once they are moved."""
    offsets = chunk_offsets(moov, track.table)
    wide = int(offsets.max(initial=0)) + (1 << 30) > _LIMIT32
    values = (offsets + growth).astype(">u8" if wide else ">u4").tobytes()
    return full_box(b"co64" if wide else b"stco", 0, 0, struct.pack(">I", len(offsets)), values)


def _pieces(
    source: int, head: bytes, mdat: tuple[int, int], tracks: Sequence[_Track], key: ContentKey, tick: Tick
) -> Iterator[bytes]:
    """Yield the bytes of the encrypted file; `mdat` is where the media's box begins, and the size of its header."""
    yield head
    yield os.pread(source, mdat[1], mdat[0])
    cipher = SampleCipher(key.key)
    offset = np.concatenate([track.places.offset for track in tracks])
    size = np.concatenate([track.places.size for track in tracks])
    owner = np.repeat(np.arange(len(tracks)), [len(track.places.size) for track in tracks])
    number = np.concatenate([np.arange(len(track.places.size)) for track in tracks])
    order = np.argsort(offset, kind="stable")
    if np.any(offset[order] != mdat[0] + mdat[1] + np.cumsum(size[order]) - size[order]):
        raise Mp4Error("samples do not follow each other")
    rows = zip(*(column[order].tolist() for column in (offset, size, owner, number)), strict=True)
    for count, (at, length, track, sample) in enumerate(rows):
        if count % TICK_EVERY == 0:
            tick(at)
        data = os.pread(source, length, at)
        if len(data) < length:
            raise Mp4Error("a sample is cut short")
        told = tracks[track].told
        iv, subsamples = read_info(told.infos[sample], subsampled=told.subsampled)
        yield cipher.whole(iv, data) if subsamples is None else cipher.parts(iv, data, subsamples)
