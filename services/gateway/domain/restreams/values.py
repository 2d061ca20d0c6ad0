"""Values that several APIs have in common: the first file of a list, and a frame rate."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Final

from services.gateway.domain.errors import invalid

RATE: Final = r"^[0-9]{1,6}( ?/ ?[0-9]{1,6}|\.[0-9]{1,12})?$"
_RATE: Final = re.compile(RATE, re.ASCII)


def first_of(index: int, count: int, field: str = "index") -> int:
    """Return the 0-based index of an item. Raise Invalid when the list is shorter."""
    if index > count:
        raise invalid(field, f"the list has {count} file{'s' if count > 1 else ''}")
    return index - 1


def frame_rate(field: str, text: str) -> Fraction:
    """Parse frames per second; 29.97 and similar become the exact rate that they stand for. Raise Invalid."""
    text = text.replace(" ", "")
    try:
        rate = Fraction(text) if _RATE.fullmatch(text) else Fraction(0)
    except ZeroDivisionError:
        rate = Fraction(0)
    ntsc = Fraction(round(rate * Fraction(1001, 1000)) * 1000, 1001)
    if rate.denominator != 1 and abs(rate - ntsc) < Fraction(1, 100):
        rate = ntsc
    rate = rate.limit_denominator(1001)
    if not 1 <= rate <= 240:
        raise invalid(field, "must be from 1 to 240 frames per second, as 25, 29.97 or 30000/1001")
    return rate
