"""Runs of MPEG-TS packets: consecutive packets of one PES packet or one section (ISO/IEC 13818-1, 2.4.3.2).

Packets are passed as columns: their second, third and fourth bytes. Each column is treated as one long number, so that
a few calls compare any number of packets.
"""

from __future__ import annotations

import re

# The second byte without payload_unit_start_indicator, and that bit alone.
_UNSTARTED, _STARTED = bytes(b & ~0x40 for b in range(256)), bytes((b & 0x40) >> 1 for b in range(256))
# The fourth byte without the adaptation field bit, and that bit alone, at the position of the bit in _STARTED.
_UNADAPTED, _ADAPTED = bytes(b & ~0x20 for b in range(256)), bytes(b & 0x20 for b in range(256))
# The fourth byte of the packet that follows in a run; 0xFF, which matches none, after a scrambled or empty packet.
_FOLLOWING = bytes(0x10 | (b + 1 & 15) if b & 0xD0 == 0x10 else 0xFF for b in range(256))
_marked = re.compile(rb"[^\0]").finditer


def until_error(highs: bytes) -> int:
    """Return how many packets come before the first one that is marked as damaged (transport_error_indicator)."""
    return len(highs) if highs.isascii() else next(at for at, high in enumerate(highs) if high & 0x80)


def run_ends(highs: bytes, lows: bytes, controls: bytes) -> list[int]:
    """Return where runs end: packets of one PID with payload, of which only the first may start a unit.

    Only the first and the last may have an adaptation field. A scrambled or empty packet is a run of its own.
    """
    high = _number(highs[1:]) ^ _number(highs[:-1].translate(_UNSTARTED))
    low = _number(lows[1:]) ^ _number(lows[:-1])
    control = _number(controls[1:].translate(_UNADAPTED)) ^ _number(controls[:-1].translate(_FOLLOWING))
    adapted = _number(controls[:-1].translate(_ADAPTED)) & ~_number(highs[:-1].translate(_STARTED))
    marks = (high | low | control | adapted).to_bytes(len(controls) - 1, "little")
    return [*(found.end() for found in _marked(marks)), len(controls)]


def _number(digits: bytes) -> int:
    return int.from_bytes(digits, "little")
