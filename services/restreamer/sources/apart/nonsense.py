"""Invalid messages of a child: their error, and the check of times."""

from __future__ import annotations

from typing import Final

from shared.errors import ReelayError

FARTHEST: Final = 3 << 59
"""The largest time in flicks: 77 years, so that sums of a few times fit into 64 bits."""


class Nonsense(ReelayError):  # noqa: N818  it names an event
    """A child sent an invalid message."""


def are_times(*times: int) -> bool:
    """Return whether times are within bounds."""
    return min(times) >= -FARTHEST and max(times) <= FARTHEST
