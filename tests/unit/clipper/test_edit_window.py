"""Which part of a picture a crop shows."""

from __future__ import annotations

from fractions import Fraction
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.clipper.edits.window import Window, window
from shared.errors import Rejected
from shared.messages.edits import Crop, CropAspect

WIDE, PAL = Fraction(1), Fraction(64, 45)  # pixels of 720x576 shown as 16:9
CASES: list[tuple[tuple[int, int, Fraction], Crop | None, Window]] = [
    ((1920, 1080, WIDE), Crop(aspect="9:16"), Window(656, 0, 608, 1080, 608, 1080)),
    ((1920, 1080, WIDE), Crop(aspect="9:16", x=0), Window(0, 0, 608, 1080, 608, 1080)),
    ((1920, 1080, WIDE), Crop(aspect="9:16", x=1, y=1), Window(1312, 0, 608, 1080, 608, 1080)),
    ((1920, 1080, WIDE), Crop(aspect="9:16", x=0.25), Window(176, 0, 608, 1080, 608, 1080)),
    ((1920, 1080, WIDE), Crop(aspect="1:1"), Window(420, 0, 1080, 1080, 1080, 1080)),
    ((1920, 1080, WIDE), Crop(aspect="4:5"), Window(528, 0, 864, 1080, 864, 1080)),
    ((1920, 1080, WIDE), Crop(aspect="16:9", x=0), Window(0, 0, 1920, 1080, 1920, 1080)),
    ((1080, 1920, WIDE), Crop(aspect="16:9", y=1), Window(0, 1312, 1080, 608, 1080, 608)),
    ((1080, 1920, WIDE), Crop(aspect="9:16", y=0), Window(0, 0, 1080, 1920, 1080, 1920)),
    ((720, 576, PAL), Crop(aspect="1:1"), Window(158, 0, 404, 576, 574, 576)),
    ((720, 576, PAL), None, Window(0, 0, 720, 576, 1024, 576)),
    ((321, 181, WIDE), None, Window(0, 0, 320, 180, 320, 180)),
    ((33, 17, WIDE), Crop(aspect="9:16"), Window(8, 0, 16, 16, 16, 16)),
]


@pytest.mark.parametrize(("picture", "crop", "expected"), CASES)
def test_what_is_shown(picture: tuple[int, int, Fraction], crop: Crop | None, expected: Window) -> None:
    assert window(*picture, crop) == expected


@given(
    st.integers(16, 4096), st.integers(16, 4096), st.sampled_from([WIDE, PAL, Fraction(8, 9), Fraction(4, 3)]),
    st.sampled_from(get_args(CropAspect)), st.floats(0, 1), st.floats(0, 1),
)  # fmt: skip
def test_it_lies_inside_even_and_as_wide_as_asked(
    width: int, height: int, pixel: Fraction, aspect: CropAspect, x: float, y: float
) -> None:
    found = window(width, height, pixel, Crop(aspect=aspect, x=x, y=y))
    assert all(value % 2 == 0 and value >= 0 for value in found)
    assert 0 < found.width <= width - found.x
    assert 0 < found.height <= height - found.y
    across, down = map(int, aspect.split(":"))
    off = Fraction(2 * down + 2 * across, min(found.wide, found.high) * down)  # two pixels of either side
    if min(found.width, found.height) > 16:
        assert abs(Fraction(found.wide, found.high) - Fraction(across, down)) <= 4 * off


@pytest.mark.parametrize(
    ("width", "height", "pixel"),
    [(640, 4096, Fraction(25)), (640, 4096, Fraction(1, 9)), (4096, 4096, Fraction(4)), (4000, 2000, Fraction(8))],
)
def test_a_shape_that_a_stream_only_claims_costs_nothing(width: int, height: int, pixel: Fraction) -> None:
    with pytest.raises(Rejected, match="cannot be edited"):
        window(width, height, pixel, None)
