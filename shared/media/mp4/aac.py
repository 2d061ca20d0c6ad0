"""AAC's configuration: reading it, writing it with implicit SBR and PS made explicit, and frames of silence.

Source: ISO/IEC 14496-3 (1.6.2.1 AudioSpecificConfig, 1.6.5 and 1.6.6 signalling of SBR and PS, 4.4.1 GASpecificConfig,
table 4.2 program_config_element, 4.4.2.1 raw_data_block).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from shared.media.bitstream.bit_reader import BitReader
from shared.media.mp4.boxes import Mp4Error

AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
RATES = range(1000, 192_001)
"""The sample rates that may be written in full, Hz."""
LC, SBR, PS = 2, 5, 29
# Audio object types whose configuration is a GASpecificConfig.
GENERAL = frozenset((1, 2, 3, 4, 6, 7, 17, 19, 20, 21, 22, 23))
LOW_DELAY = frozenset((23, 39))
SINGLE, PAIR, LOW, PROGRAM, END = 0, 1, 3, 5, 7
"""Syntactic elements of a frame: one channel, two, the low-frequency channel, a program config, and the end."""
# Elements of each channel configuration, in order (table 1.19).
_ELEMENTS: dict[int, tuple[int, ...]] = {
    1: (SINGLE,), 2: (PAIR,), 3: (SINGLE, PAIR), 4: (SINGLE, PAIR, SINGLE), 5: (SINGLE, PAIR, PAIR),
    6: (SINGLE, PAIR, PAIR, LOW), 7: (SINGLE, PAIR, PAIR, PAIR, LOW), 11: (SINGLE, PAIR, PAIR, SINGLE, LOW),
    12: (SINGLE, PAIR, PAIR, PAIR, LOW), 14: (SINGLE, PAIR, PAIR, LOW, PAIR)}  # fmt: skip
_SYNC_SBR, _SYNC_PS = 0x2B7, 0x548


class Element(NamedTuple):
    """A syntactic element and its tag."""

    kind: int
    tag: int


class Program(NamedTuple):
    """A program config element: its bits up to the alignment as (value, count), its comment, the channels' elements."""

    bits: tuple[int, int]
    comment: bytes
    elements: tuple[Element, ...]

    @property
    def channels(self) -> int:
        """Return the number of channels."""
        return _channels(element.kind for element in self.elements)


@dataclass(frozen=True, slots=True)
class AacConfig:
    """A parsed AudioSpecificConfig: output rate in Hz, channels, and output samples per frame.

    `kind` is the object type to report to players; `told`: the config says whether there is SBR. `elements` are those
    of a frame.
    """

    rate: int
    channels: int
    frame: int
    kind: int = LC
    told: bool = True
    elements: tuple[Element, ...] = ()


@lru_cache(maxsize=64)
def read_aac(config: bytes) -> AacConfig:
    """Read an AudioSpecificConfig; signalled SBR doubles the output rate and the frame. Mp4Error on garbage."""
    reader = BitReader(config[:512])
    kind, rate = _object_type(reader), _rate(reader)
    named, core, channels = kind, rate, reader.bits(4)
    if kind in (SBR, PS):
        rate = _rate(reader)
        kind = _object_type(reader)
    short, elements = _general(reader, kind, channels)
    told = named in (SBR, PS) or kind != LC
    if not told and reader.left >= 17 and reader.bits(11) == _SYNC_SBR and _object_type(reader) == SBR:
        told = True
        if reader.flag():
            named, rate = SBR, _rate(reader)
            if reader.left >= 12 and reader.bits(11) == _SYNC_PS and reader.flag():
                named = PS
    if core not in RATES or rate not in RATES or rate % core:
        raise Mp4Error("AAC sample rate makes no sense")
    frame = (480 if short else 512) if kind in LOW_DELAY else 960 if short else 1024
    count = _channels(element.kind for element in elements) or {13: 24}.get(channels, channels)
    count = 2 if named == PS and count == 1 else count
    if not count:
        raise Mp4Error("AAC without channels")
    return AacConfig(rate, count, frame * (rate // core), named, told, elements)


def _general(reader: BitReader, kind: int, channels: int) -> tuple[bool, tuple[Element, ...]]:
    """Read the part that depends on the object type: (short frames, the elements of a frame)."""
    elements = _tagged(_ELEMENTS.get(channels, ()))
    if kind not in GENERAL:
        short = kind in LOW_DELAY and reader.left > 0 and reader.flag()
        if not channels:
            raise Mp4Error("AAC channels are not told")
        return short, elements
    short = reader.left > 0 and reader.flag()
    if channels and reader.left < 2:
        return short, elements
    if reader.flag():  # dependsOnCoreCoder
        reader.bits(14)
    reader.flag()  # extensionFlag
    return short, elements if channels else read_program(reader).elements


def _object_type(reader: BitReader) -> int:
    kind = reader.bits(5)
    return 32 + reader.bits(6) if kind == 31 else kind


def _rate(reader: BitReader) -> int:
    index = reader.bits(4)
    if index == 15:
        return reader.bits(24)
    if index >= len(AAC_RATES):
        raise Mp4Error("AAC sample rate index is reserved")
    return AAC_RATES[index]


def _channels(kinds: Iterable[int]) -> int:
    return sum(2 if kind == PAIR else 1 for kind in kinds)


def _tagged(kinds: Iterable[int]) -> tuple[Element, ...]:
    """Return elements of these kinds, with tags from 0 for each kind."""
    tags = dict.fromkeys((SINGLE, PAIR, LOW), -1)
    found = []
    for kind in kinds:
        tags[kind] += 1
        found.append(Element(kind, tags[kind]))
    return tuple(found)


def read_program(reader: BitReader) -> Program:
    """Read a program config element, byte-aligned from the reader's start; Mp4Error on garbage."""
    value = count = 0

    def take(bits: int) -> int:
        nonlocal value, count
        got = reader.bits(bits)
        value, count = value << bits | got, count + bits
        return got

    take(10)  # tag, object type, rate
    front, side, back, low, assoc, coupled = (take(bits) for bits in (4, 4, 4, 2, 3, 4))
    for bits in (4, 4, 3):  # mixdowns
        if take(1):
            take(bits)
    elements = [Element(PAIR if take(1) else SINGLE, take(4)) for _ in range(front + side + back)]
    elements += [Element(LOW, take(4)) for _ in range(low)]
    take(4 * assoc + 5 * coupled)
    reader.bits(reader.left % 8)
    comment = bytes(reader.bits(8) for _ in range(reader.bits(8)))
    if not elements:
        raise Mp4Error("AAC program without channels")
    return Program((value, count), comment, tuple(elements))


def frame_program(frame: bytes) -> tuple[Program, bytes] | None:
    """Return a frame's leading program config element and the frame without it; None when it has none."""
    if not frame or frame[0] >> 5 != PROGRAM:
        return None
    reader = BitReader(frame[:384])
    reader.bits(3)
    program = read_program(reader)
    return program, frame[min(len(frame), 384) - reader.left // 8 :]


def build_aac(kind: int, rate_index: int, channels: int, program: Program | None = None) -> bytes:
    """Build the AudioSpecificConfig of an ADTS header's fields, with the program when `channels` is 0."""
    return _packed(kind << 11 | rate_index << 7 | channels << 3, 16, None if channels else program)


def _packed(value: int, count: int, program: Program | None) -> bytes:
    """Return bits, followed by a program config element, as whole bytes."""
    if program is not None:
        value, count = value << program.bits[1] | program.bits[0], count + program.bits[1]
    pad = -count % 8
    out = (value << pad).to_bytes((count + pad) // 8, "big")
    return out if program is None else out + bytes((len(program.comment),)) + program.comment


def with_sbr(config: bytes, *, ps: bool) -> bytes:
    """Return an LC configuration with explicit hierarchical signalling of SBR, and of PS if `ps` (1.6.5.2)."""
    reader = BitReader(config)
    kind, rate, channels, flags = _object_type(reader), _rate(reader), reader.bits(4), reader.bits(3)
    if kind != LC or rate not in AAC_RATES or rate * 2 not in AAC_RATES or flags & 2:
        return config
    value = (PS if ps else SBR) << 20 | AAC_RATES.index(rate) << 16 | channels << 12
    value |= AAC_RATES.index(rate * 2) << 8 | LC << 3 | flags
    return _packed(value, 25, None if channels else read_program(reader))


@lru_cache(maxsize=16)
def silence(config: bytes) -> bytes | None:
    """Return a frame of silence for a configuration: without band values (max_sfb 0). None when it cannot be made."""
    meaning = read_aac(config)
    if not meaning.elements:
        return None
    value = count = 0
    for kind, tag in meaning.elements:
        value, count = value << 7 | kind << 4 | tag, count + 7
        if kind == PAIR:  # common window: its description once; no mid/side; two channels of gain 0 and no tools
            value, count = value << 36 | 1 << 35, count + 36
        else:  # gain 0, a long window, no tools
            value, count = value << 22, count + 22
    return _packed(value << 3 | END, count + 3, None)
