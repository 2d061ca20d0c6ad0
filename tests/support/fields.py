"""A small H.264 encoder of interlaced pictures as field pairs, as no available one makes: all macroblocks are raw.

Source: ITU-T H.264, 7.3 (I_PCM, 7.3.5).
"""

from __future__ import annotations

from shared.media.bitstream.bit_writer import BitWriter, escape
from tests.support.ts_mux import LEAD, Coded

MACROBLOCKS = 2
FRAME = 3600


def parameter_sets() -> tuple[bytes, bytes]:
    sps = BitWriter()
    for number in (0, 0, 0, 0, 1):  # id, frame_num of 4 bits, order count type 0 of 4 bits, one reference
        sps.ue(number)
    sps.flag(value=False)
    sps.ue(MACROBLOCKS - 1)
    sps.ue(0)
    sps.bits(0b00100, 5)  # fields, no MBAFF, direct 8x8, no cropping, no VUI
    pps = BitWriter()
    pps.ue(0)
    pps.ue(0)
    pps.bits(0b00, 2)
    for number in (0, 0, 0):
        pps.ue(number)
    pps.bits(0, 3)
    for number in (0, 0, 0):
        pps.ue(number)
    pps.bits(0b000, 3)
    return b"\x67\x4d\x00\x1e" + escape(sps.payload()), b"\x68" + escape(pps.payload())


def field(number: int, *, bottom: bool, reference: bool, shade: int) -> bytes:
    """Code one field of frame `number`."""
    idr = number == 0 and not bottom
    out = BitWriter()
    out.ue(0)
    out.ue(7)
    out.ue(0)
    out.bits(number, 4)
    out.bits(2 | bottom, 2)
    if idr:
        out.ue(0)
    out.bits(2 * number + bottom, 4)
    if reference:
        out.bits(0, 2 if idr else 1)
    out.ue(0)  # slice_qp_delta
    for _ in range(MACROBLOCKS):
        out.ue(25)
        out.bits(0, -out._count % 8)
        out.bits(int.from_bytes(bytes((shade,)) * 256 + b"\x80" * 128, "big"), 384 * 8)
    head = (0x60 if reference else 0) | (5 if idr else 1)
    return bytes((head,)) + escape(out.payload())


def frames(count: int, *, delimiters: bool = True, references: bool = True, gop: int = 0) -> list[tuple[Coded, Coded]]:
    """Code frames of 25 a second, a pair of access units each; frame n's fields are all of shades 40 + 5n, 42 + 5n.

    With `gop` every so many frames are an IDR picture and what follows it: 8 at most, by the bits of its order count.
    """
    pairs = []
    number = 0
    for n in range(count):
        if gop and n % gop == 0:
            number = 0
        reference = references or number == 0
        at = LEAD + n * FRAME
        units = []
        for bottom in (False, True):
            nals = [b"\x09\x10"] if delimiters else []
            nals += parameter_sets() if number == 0 and not bottom else ()
            nals.append(field(number % 16, bottom=bottom, reference=reference, shade=40 + 5 * n + 2 * bottom))
            time = at + bottom * FRAME // 2
            units.append(Coded(tuple(nals), time, time))
        number += 1 if reference else 0
        pairs.append((units[0], units[1]))
    return pairs
