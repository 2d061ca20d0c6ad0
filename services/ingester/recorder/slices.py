"""Slice headers: which slices belong to one picture, and in which order pictures are shown.

Sources: ITU-T H.264 (7.3.2.2, 7.3.3, 7.4.1.2.4), ITU-T H.265 (7.3.2.3.1, 7.3.6.1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple, TypeVar

from shared.media.bitstream.bit_reader import BitReader, unescape
from shared.media.bitstream.params import (
    H264_PPS,
    H264_SPS,
    HEVC_PPS,
    HEVC_SPS,
    PictureOrder,
    nal_type,
    read_sps,
    set_id,
)
from shared.media.mp4.boxes import Mp4Error
from shared.media.tracks import VideoCodec

T = TypeVar("T")
HEAD = 64
"""Bytes of a slice that hold the first fields of its header."""
FRAME, TOP, BOTTOM = 0, 1, 2
_H264_IDR = 5
_HEVC_IDR, _HEVC_IRAP = range(19, 21), range(16, 24)


class Slice(NamedTuple):
    """The slice header fields that differ between pictures; `poc` is -1 where the slice has none."""

    sets: int
    frame: int = 0
    parity: int = FRAME
    idr: int = -1
    reference: bool = True
    poc: int = -1
    differences: tuple[int, ...] = ()
    redundant: int = 0

    def shares_picture(self, other: Slice) -> bool:
        """Return whether both belong to one coded picture (H.264 7.4.1.2.4)."""
        return self._replace(redundant=0) == other._replace(redundant=0)

    def shares_frame(self, other: Slice) -> bool:
        """Return whether the two are the fields of one frame."""
        return bool(self.parity and other.parity) and self.parity != other.parity and self.frame == other.frame


class _Pictures(NamedTuple):
    """The values of a PPS that are needed to read its slices' headers."""

    sps: int
    bottom: bool = False
    redundant: bool = False
    output: bool = False
    extra: int = 0


class SliceReader:
    """Reads slice headers with the active parameter sets."""

    def __init__(self, codec: VideoCodec) -> None:
        self._codec = codec
        self._sps: dict[int, PictureOrder] = {}
        self._pps: dict[int, _Pictures] = {}
        self._known: frozenset[bytes] = frozenset()
        self.has_fields = False

    def learn(self, sets: frozenset[bytes]) -> None:
        """Take the active parameter sets; invalid ones count as unknown."""
        if sets is self._known:
            return
        self._known = sets
        sps, pps = (H264_SPS, H264_PPS) if self._codec == "h264" else (HEVC_SPS, HEVC_PPS)
        self._sps = _read_each(self._codec, (n for n in sets if nal_type(self._codec, n) == sps), _order)
        self._pps = _read_each(self._codec, (n for n in sets if nal_type(self._codec, n) == pps), _pictures)
        self.has_fields = not all(order.frames_only for order in self._sps.values())

    def poc_bits(self, head: Slice) -> int:
        """Return the width of a slice's picture order count in bits; 0 when it has none."""
        pps = self._pps.get(head.sets)
        order = self._sps.get(pps.sps) if pps else None
        return order.poc_bits if order else 0

    def read(self, nal: bytes) -> Slice | None:
        """Read a slice header from its NAL unit's first HEAD bytes; None when it cannot be read."""
        try:
            return self._h264(nal) if self._codec == "h264" else self._hevc(nal)
        except (Mp4Error, KeyError):
            return None

    def _h264(self, nal: bytes) -> Slice:
        reader = BitReader(unescape(nal[1:HEAD]))
        reader.ue()  # first_mb_in_slice
        reader.ue()  # slice_type
        pps = reader.ue()
        picture = self._pps[pps]
        order = self._sps[picture.sps]
        if order.planes:
            reader.bits(2)
        frame = reader.bits(order.frame_bits)
        parity = FRAME
        if not order.frames_only and reader.flag():
            parity = BOTTOM if reader.flag() else TOP
        idr = reader.ue() if nal[0] & 0x1F == _H264_IDR else -1
        poc = reader.bits(order.poc_bits) if order.kind == 0 else -1
        count = int(order.kind == 0 or (order.kind == 1 and not order.fixed)) * (picture.bottom and not parity)
        count += int(order.kind == 1 and not order.fixed)
        differences = tuple(reader.se() for _ in range(count))
        redundant = reader.ue() if picture.redundant else 0
        return Slice(pps, frame, parity, idr, bool(nal[0] & 0x60), poc, differences, redundant)

    def _hevc(self, nal: bytes) -> Slice:
        kind = nal[0] >> 1 & 0x3F
        reader = BitReader(unescape(nal[2:HEAD]))
        if not reader.flag():
            raise Mp4Error("not the first slice of a picture")
        if kind in _HEVC_IRAP:
            reader.flag()  # no_output_of_prior_pics_flag
        pps = reader.ue()
        picture = self._pps[pps]
        order = self._sps[picture.sps]
        reader.bits(picture.extra)
        reader.ue()  # slice_type
        reader.bits(int(picture.output) + 2 * int(order.planes))
        idr = 0 if kind in _HEVC_IDR else -1
        return Slice(pps, idr=idr, poc=0 if idr == 0 else reader.bits(order.poc_bits))


def _read_each(codec: VideoCodec, nals: Iterable[bytes], read: Callable[[VideoCodec, bytes], T]) -> dict[int, T]:
    """Return parameter sets by id, without the invalid ones."""
    found: dict[int, T] = {}
    for nal in nals:
        with suppress(Mp4Error):
            found[set_id(codec, nal)] = read(codec, nal)
    return found


@lru_cache(maxsize=64)
def _order(codec: VideoCodec, nal: bytes) -> PictureOrder:
    return read_sps(codec, nal).order


@lru_cache(maxsize=64)
def _pictures(codec: VideoCodec, nal: bytes) -> _Pictures:
    reader = BitReader(unescape(nal[1 if codec == "h264" else 2 :]))
    reader.ue()  # its own id
    sps = reader.ue()
    if codec == "hevc":
        reader.flag()  # dependent_slice_segments_enabled_flag
        return _Pictures(sps, output=reader.flag(), extra=reader.bits(3))
    reader.flag()  # entropy_coding_mode_flag
    bottom = reader.flag()
    if reader.ue():  # slice groups: no longer used by encoders
        return _Pictures(sps, bottom)
    reader.ue()
    reader.ue()
    reader.bits(3)  # weighted prediction
    for _ in range(3):
        reader.se()  # quantizer parameters
    reader.bits(2)
    return _Pictures(sps, bottom, redundant=reader.flag())
