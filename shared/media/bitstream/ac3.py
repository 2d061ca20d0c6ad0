"""AC-3 and E-AC-3: the frames of a stream, and what MP4 says about them (dac3, dec3).

Sources: ETSI TS 102 366: 4.4.1 (syncinfo), 4.4.2 (bsi), E.1.2 and E.1.3 (E-AC-3), F.4 (dac3), F.6 (dec3).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from shared.media.bitstream.bit_reader import BitReader
from shared.media.bitstream.bit_writer import BitWriter

SYNC: Final = b"\x0b\x77"
HEADER: Final = 24
"""Bytes that hold all that is read of a frame."""
BLOCK: Final = 256
ACCESS_UNIT: Final = 6 * BLOCK
"""Samples of an AC-3 frame, and of an E-AC-3 sample in MP4 (F.5)."""
INDEPENDENT, DEPENDENT = 0, 1
_RATES: Final = (48_000, 44_100, 32_000)
_KBPS: Final = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640)
_CHANNELS: Final = (2, 1, 2, 3, 3, 4, 4, 5)
"""By acmod; 0 is two mono programmes."""
_OLDEST_BSID, _NEWEST_BSID, _LAST_BSID = 8, 11, 16
# Channels that a bit of chanmap stands for, from its first bit on (E.1.3.1.8).
_MAPPED: Final = (1, 1, 1, 1, 1, 2, 2, 1, 1, 2, 2, 2, 1, 2, 1, 1)
_ADDED: Final = 0x7FE
"""The bits of chanmap for channels that a main frame never has."""


class Ac3Frame(NamedTuple):
    """A frame of either codec. `kind` is E-AC-3's strmtyp; `code` AC-3's bit rate (F.4); `extra` a chanmap's bits."""

    codec: Literal["ac3", "eac3"]
    size: int
    rate: int
    samples: int
    fscod: int
    bsid: int
    bsmod: int
    acmod: int
    lfe: bool
    code: int = 0
    kind: int = INDEPENDENT
    substream: int = 0
    extra: int = 0

    @property
    def channels(self) -> int:
        """The channels of this frame alone."""
        return _CHANNELS[self.acmod] + self.lfe

    @property
    def begins(self) -> bool:
        """Whether an access unit begins with it, or goes on in time: it is of the first programme."""
        return self.kind != DEPENDENT and not self.substream


def read_ac3(data: bytes, at: int = 0) -> Ac3Frame | None:
    """Read the frame's header at `at`; None when there is none. Mp4Error when it is cut short."""
    if data[at : at + 2] != SYNC:
        return None
    head = data[at + 2 : at + HEADER]
    bsid = head[3] >> 3 if len(head) > 3 else 0
    bits = BitReader(head)
    if bsid <= _OLDEST_BSID:
        return _ac3(bits)
    return _eac3(bits) if _NEWEST_BSID <= bsid <= _LAST_BSID else None


def _ac3(bits: BitReader) -> Ac3Frame | None:
    bits.bits(16)  # crc1
    fscod, code, bsid, bsmod, acmod = (bits.bits(count) for count in (2, 6, 5, 3, 3))
    if fscod == 3 or code >> 1 >= len(_KBPS):
        return None
    bits.bits(2 * (acmod & 1 and acmod != 1) + 2 * bool(acmod & 4) + 2 * (acmod == 2))  # mix levels, dsurmod
    rate, kbps = _RATES[fscod], _KBPS[code >> 1]
    words = kbps * 96_000 // rate + (code & 1 if fscod == 1 else 0)
    return Ac3Frame("ac3", 2 * words, rate, ACCESS_UNIT, fscod, bsid, bsmod, acmod, bits.flag(), code >> 1)


def _eac3(bits: BitReader) -> Ac3Frame | None:
    kind, substream, size, fscod = (bits.bits(count) for count in (2, 3, 11, 2))
    blocks = bits.bits(2)  # fscod2 in its place at half the rate
    if kind == 3 or (fscod == 3 and blocks == 3):
        return None
    rate = _RATES[fscod] if fscod != 3 else _RATES[blocks] // 2
    samples = BLOCK * ((1, 2, 3, 6)[blocks] if fscod != 3 else 6)
    acmod, lfe, bsid = bits.bits(3), bits.flag(), bits.bits(5)
    for _ in range(1 if acmod else 2):  # dialnorm, compr
        bits.bits(5)
        bits.bits(8 * bits.flag())
    extra = bits.bits(16) if kind == DEPENDENT and bits.flag() else 0
    return Ac3Frame(
        "eac3", 2 * (size + 1), rate, samples, fscod, bsid, 0, acmod, lfe, kind=kind, substream=substream, extra=extra
    )


def all_channels(frames: Sequence[Ac3Frame]) -> int:
    """Return the channels of the first programme: its own frame's, and those that dependent frames add."""
    extra = 0
    for frame in frames[1:]:
        if frame.kind != DEPENDENT and frame.substream:
            break
        extra |= frame.extra & _ADDED if frame.kind == DEPENDENT else 0
    return frames[0].channels + sum(count for bit, count in enumerate(_MAPPED) if extra >> 15 - bit & 1)


def dac3(frame: Ac3Frame) -> bytes:
    """Build the content of a dac3 box: exactly three bytes."""
    out = BitWriter()
    for value, count in (
        (frame.fscod, 2), (frame.bsid, 5), (frame.bsmod, 3), (frame.acmod, 3), (frame.lfe, 1), (frame.code, 5), (0, 5),
    ):  # fmt: skip
        out.bits(value, count)
    return out.aligned()


def dec3(frames: Sequence[Ac3Frame]) -> bytes:
    """Build the content of a dec3 box from the frames of an access unit, each substream once."""
    kbps = sum(frame.size * frame.rate // (125 * frame.samples) for frame in frames)
    groups: list[list[Ac3Frame]] = []
    for frame in frames:
        if frame.kind == DEPENDENT and groups:
            groups[-1].append(frame)
        else:
            groups.append([frame])
    out = BitWriter()
    out.bits(min(kbps, 0x1FFF), 13)
    out.bits(len(groups) - 1, 3)
    for own, *dependent in groups:
        for value, count in (
            (own.fscod, 2), (own.bsid, 5), (0, 2), (own.bsmod, 3), (own.acmod, 3), (own.lfe, 1), (0, 3),
            (len(dependent), 4),
        ):  # fmt: skip
            out.bits(value, count)
        located = 0
        for frame in dependent:
            located |= _located(frame.extra)
        out.bits(located, 9 if dependent else 1)
    return out.aligned()


def _located(extra: int) -> int:
    """Return chan_loc (F.6.2.13): its bits, from the last one on, are chanmap's from its sixth one on."""
    found = 0
    for bit, place in ((5, 0), (6, 1), (7, 2), (8, 3), (9, 4), (10, 5), (11, 6), (12, 7), (14, 8)):
        found |= (extra >> 15 - bit & 1) << place
    return found
