"""Runs of MPEG-TS packets: those that one PES packet, or one section, has in a row (ISO/IEC 13818-1, 2.4.3.2).

Packets are given as columns: their second, their third and their fourth bytes. All packets are looked at together, as
digits of long numbers: a few calls, whatever their number.
"""

from __future__ import annotations

import re

# The second byte without the mark that something begins, and that mark alone.
_UNSTARTED, _STARTED = bytes(b & ~0x40 for b in range(256)), bytes((b & 0x40) >> 1 for b in range(256))
# The fourth byte without the mark of an adaptation field, and that mark alone, where _STARTED has its own.
_UNADAPTED, _ADAPTED = bytes(b & ~0x20 for b in range(256)), bytes(b & 0x20 for b in range(256))
# The fourth byte of the packet that goes on; 0xFF, which none has then, behind one without payload or scrambled.
_FOLLOWING = bytes(0x10 | (b + 1 & 15) if b & 0xD0 == 0x10 else 0xFF for b in range(256))
_marked = re.compile(rb"[^\0]").finditer


def until_error(highs: bytes) -> int:
    """Count the packets before the first one that the link has marked as damaged."""
    return len(highs) if highs.isascii() else next(at for at, high in enumerate(highs) if high & 0x80)


def run_ends(highs: bytes, lows: bytes, controls: bytes) -> list[int]:
    """Tell where runs end: packets of one PID with payload, of which only the first begins something.

    Only that one and the last may be adapted. What is scrambled or without payload is alone.
    """
    high = _number(highs[1:]) ^ _number(highs[:-1].translate(_UNSTARTED))
    low = _number(lows[1:]) ^ _number(lows[:-1])
    control = _number(controls[1:].translate(_UNADAPTED)) ^ _number(controls[:-1].translate(_FOLLOWING))
    adapted = _number(controls[:-1].translate(_ADAPTED)) & ~_number(highs[:-1].translate(_STARTED))
    marks = (high | low | control | adapted).to_bytes(len(controls) - 1, "little")
    return [*(found.end() for found in _marked(marks)), len(controls)]


def _number(digits: bytes) -> int:
    return int.from_bytes(digits, "little")
