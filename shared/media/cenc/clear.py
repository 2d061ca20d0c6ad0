"""The clear view of encrypted recordings: the same boxes at the same offsets, but samples as they were.

What says that samples are encrypted is renamed to `free`, so that sizes, offsets and ranges of bytes stay.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from shared.media.cenc.cipher import SampleCipher
from shared.media.cenc.entry import entry_boxes, original, read_kid
from shared.media.cenc.key import IV_SIZE, KID_SIZE
from shared.media.cenc.seal import SUBSAMPLED
from shared.media.cenc.subsamples import Subsample
from shared.media.mp4.boxes import Box, Mp4Error, box, children, find, need, read_header, unpack

KID_UUID: Final = bytes.fromhex("0c7f1a7d5a0e4a5e9d3f52656c61794b")
"""The box in an encrypted segment's head that names its key."""
PROBE: Final = 256
"""So many bytes of a segment hold its head."""
_AUXILIARY: Final = frozenset((b"senc", b"saiz", b"saio"))
_OFFSET, _FIRST_FLAGS, _DURATION, _SIZE, _FLAGS, _CTS = 0x1, 0x4, 0x100, 0x200, 0x400, 0x800
_DEFAULT_SIZE_BEFORE: Final = ((0x1, 8), (0x2, 4), (0x8, 4))


def kid_box(kid: bytes) -> bytes:
    """Build the box that names a segment's key."""
    return box(b"uuid", KID_UUID + kid)


def segment_kid(head: bytes) -> bytes:
    """Return the id of a segment's key from its first bytes (PROBE of them suffice); empty when it is clear."""
    found = _kid_box(head)
    return b"" if found is None else bytes(head[found.end - KID_SIZE : found.end])


def _kid_box(data: bytes) -> Box | None:
    at = 0
    while len(data) - at >= 8:
        size, kind = struct.unpack_from(">I4s", data, at)
        if kind in (b"moof", b"mdat") or size < 8 or at + size > len(data):
            return None
        if kind == b"uuid" and size == 8 + 16 + KID_SIZE and data[at + 8 : at + 24] == KID_UUID:
            return Box(kind, at, at + 8, at + size)
        at += size
    return None


def init_kid(data: bytes) -> bytes:
    """Return the id of an init segment's key; empty when its tracks are clear. Mp4Error."""
    return next((read_kid(data, sinf) for _, sinf in _protected(data)), b"")


def clear_init(data: bytes) -> bytes:
    """Return an init segment with its sample entries as of clear tracks, of the same size; Mp4Error."""
    made = bytearray(data)
    for entry, sinf in _protected(data):
        made[entry.start + 4 : entry.start + 8] = original(data, sinf)
        made[sinf.start + 4 : sinf.end] = b"free".ljust(sinf.end - sinf.start - 4, b"\0")
    return bytes(made)


def _protected(data: bytes) -> Iterator[tuple[Box, Box]]:
    """Yield the protected sample entries of a moov, each with its sinf."""
    moov = need(data, None, b"moov")
    for trak in (child for child in children(data, moov.body, moov.end) if child.kind == b"trak"):
        stsd = need(data, trak, b"mdia", b"minf", b"stbl", b"stsd")
        for entry in children(data, stsd.body + 8, stsd.end):
            if entry.kind in (b"encv", b"enca"):
                sinf = next((child for child in entry_boxes(data, entry) if child.kind == b"sinf"), None)
                if sinf is None:
                    raise Mp4Error("protected sample entry without sinf")
                yield entry, sinf


def clear_segment(data: bytes, key: bytes) -> bytes:
    """Return a segment with its samples decrypted, of the same size; Mp4Error when its boxes make no sense.

    A part that is not complete yet, at the end, stays as it is.
    """
    made = bytearray(data)
    named = _kid_box(data)
    if named is not None:
        made[named.start + 4 : named.start + 8] = b"free"
    cipher = SampleCipher(key)
    at = 0
    moof: Box | None = None
    while len(data) - at >= 8:
        try:
            found = read_header(data, at, len(data))
        except Mp4Error:  # still being written
            break
        if found.kind == b"moof":
            moof = found
        elif found.kind == b"mdat" and moof is not None:
            for traf in (child for child in children(data, moof.body, moof.end) if child.kind == b"traf"):
                _clear_run(data, made, _Fragment(moof.start, traf), cipher)
            moof = None
        at = found.end
    return bytes(made)


class _Fragment(NamedTuple):
    """A traf, and where its moof begins."""

    base: int
    traf: Box


def _clear_run(data: bytes, made: bytearray, fragment: _Fragment, cipher: SampleCipher) -> None:
    """Decrypt the samples of a traf, and rename what says that they are encrypted."""
    senc = find(data, fragment.traf, b"senc")
    if senc is None:
        return
    infos = read_infos(data, senc)
    for at, size in _samples(data, fragment):
        iv, subsamples = next(infos, (b"", None))
        if not iv or at < 0 or at + size > len(data):
            raise Mp4Error("encrypted sample without an IV, or outside its file")
        sample = memoryview(data)[at : at + size]
        made[at : at + size] = cipher.whole(iv, sample) if subsamples is None else cipher.parts(iv, sample, subsamples)
    for child in children(data, fragment.traf.body, fragment.traf.end):
        if child.kind in _AUXILIARY:
            made[child.start + 4 : child.start + 8] = b"free"


def read_infos(data: bytes, senc: Box) -> Iterator[tuple[bytes, list[Subsample] | None]]:
    """Yield each sample's IV and its subsamples, None when it is encrypted whole; Mp4Error."""
    flags, count = unpack("II", data, senc.body, senc.end)
    at = senc.body + 8
    for _ in range(count):
        if at + IV_SIZE > senc.end:
            raise Mp4Error("senc is cut short")
        iv = bytes(data[at : at + IV_SIZE])
        at += IV_SIZE
        if not flags & SUBSAMPLED:
            yield iv, None
            continue
        listed = unpack("H", data, at, senc.end)[0]
        values = unpack("HI" * listed, data, at + 2, senc.end)
        at += 2 + 6 * listed
        yield iv, [Subsample(*pair) for pair in zip(values[::2], values[1::2], strict=True)]


def read_info(info: bytes, *, subsampled: bool) -> tuple[bytes, list[Subsample] | None]:
    """Return the IV and the subsamples of one sample's auxiliary information; None when it is encrypted whole."""
    if not subsampled:
        return info, None
    values = struct.unpack_from(">" + "HI" * ((len(info) - IV_SIZE - 2) // 6), info, IV_SIZE + 2)
    return info[:IV_SIZE], [Subsample(*pair) for pair in zip(values[::2], values[1::2], strict=True)]


def _samples(data: bytes, fragment: _Fragment) -> Iterator[tuple[int, int]]:
    """Yield offset and size of each sample of a traf: of the kind that our recorder writes."""
    tfhd = need(data, fragment.traf, b"tfhd")
    usual = _default_size(data, tfhd)
    for trun in (child for child in children(data, fragment.traf.body, fragment.traf.end) if child.kind == b"trun"):
        flags, count = unpack("II", data, trun.body, trun.end)
        if not flags & _OFFSET:
            raise Mp4Error("run without an offset")
        at = fragment.base + unpack("i", data, trun.body + 8, trun.end)[0]
        row = trun.body + 12 + (4 if flags & _FIRST_FLAGS else 0)
        width = 4 * sum(1 for field in (_DURATION, _SIZE, _FLAGS, _CTS) if flags & field)
        size_at = 4 if flags & _DURATION else 0
        for number in range(count):
            size = unpack("I", data, row + number * width + size_at, trun.end)[0] if flags & _SIZE else usual
            yield at, size
            at += size


def _default_size(data: bytes, tfhd: Box) -> int:
    flags = unpack("I", data, tfhd.body, tfhd.end)[0]
    if not flags & 0x10:
        return 0
    at = tfhd.body + 8 + sum(size for flag, size in _DEFAULT_SIZE_BEFORE if flags & flag)
    return unpack("I", data, at, tfhd.end)[0]
