"""How a child shows that it does what a file wants, not what it was made for: it says what cannot be."""

from __future__ import annotations

from typing import Final

from shared.errors import ReelayError

FARTHEST: Final = 3 << 59
"""Flicks: 77 years, so that sums of a few times are within 64 bits."""


class Nonsense(ReelayError):  # noqa: N818  it names what happened
    """A child said what our own code never says: it is not to be trusted any more."""


def are_times(*times: int) -> bool:
    """Tell whether times are within bounds."""
    return min(times) >= -FARTHEST and max(times) <= FARTHEST
