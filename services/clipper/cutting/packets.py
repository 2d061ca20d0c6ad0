"""The exact times of sound packets, to the sample, whatever their rounded time stamps say.

Packets of one run follow each other without a hole, so all their stamps together give the run's start time. Holes
are kept, and repeated packets are left out.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from shared.media.model import Int64s, SampleTable

# Packets at most this many samples off their grid have precise time stamps: they follow a drifting clock.
SMOOTH = 4
# At most this many packets are used to find a run's start time.
SETTLING = 256
# Time stamps of packets without a hole between them differ from their durations by less than this, in ms.
WOBBLE_MS = 2
# A hole that differs from whole packets by less than this, in ms, comes from lost packets: the encoder counted on.
LOST_MS = 1


def place_packets(table: SampleTable, rate: int) -> tuple[Int64s, Int64s]:
    """Return the rows of the packets to play, and the tick (`rate` per second) at which each begins."""
    wobble = rate * WOBBLE_MS // 1000
    usual = int(np.median(table.duration))
    lengths = np.where(np.abs(table.duration - usual) <= wobble, usual, table.duration)
    at = _steady(table, lengths, wobble)
    rows = np.arange(len(table))
    off = at[1:] - at[:-1] - lengths[:-1]
    breaks = (np.flatnonzero(np.abs(off) > wobble) + 1).tolist()
    kept = np.ones(len(table), np.bool_)
    end = int(at[breaks[0] - 1] + lengths[breaks[0] - 1]) if breaks else 0
    for first, after in pairwise((*breaks, len(table))):
        begin = _begin(at[first:after], end, usual, rate * LOST_MS // 1000)
        kept[first : first + begin.skipped] = False
        at[first:after] += begin.shift
        if begin.skipped < after - first:
            end = int(at[after - 1] + lengths[after - 1])
    return rows[kept], at[kept]


class _Begin(NamedTuple):
    """How a run follows the one before: `skipped` packets are left out, and all others moved by `shift` ticks."""

    skipped: int
    shift: int


def _begin(at: Int64s, end: int, usual: int, near: int) -> _Begin:
    """Join a run of packets to the one that ended at `end`."""
    skipped = int(np.searchsorted(at, end - near))
    if skipped == len(at):
        return _Begin(skipped, 0)
    hole = int(at[skipped]) - end
    lost = (hole + usual // 2) // usual * usual
    return _Begin(skipped, lost - hole if abs(hole - lost) <= near else 0)


def _settle(at: Int64s, counted: Int64s) -> None:
    """Move a run's first packets to its settled grid: a recorder finds the grid gradually from these packets."""
    off = at - counted
    offset = int(np.median(off[len(off) // 2 :]))
    moving = np.flatnonzero(np.abs(off - offset) > SMOOTH // 2)
    if len(moving) and moving[-1] < min(SETTLING, len(off) // 2):
        at[: moving[-1] + 1] = counted[: moving[-1] + 1] + offset


def _steady(table: SampleTable, lengths: Int64s, wobble: int) -> Int64s:
    """Return packet times without rounding: packets without a jump between them follow each other exactly."""
    counted = np.cumsum(lengths) - lengths
    at = table.dts.copy()
    off_steps = np.abs(np.diff(table.dts) - lengths[:-1])
    todo = list(pairwise((0, *(np.flatnonzero(off_steps > wobble) + 1).tolist(), len(table))))
    while todo:
        first, end = todo.pop()
        if int(off_steps[first : end - 1].max(initial=0)) <= SMOOTH:
            _settle(at[first:end], counted[first:end])
            continue
        off = at[first:end] - counted[first:end]
        low, high = int(off.min()), int(off.max())
        if high - low <= 2 * wobble:
            at[first:end] = counted[first:end] + (low + high) // 2
        else:  # the sender's two clocks drift apart: follow them in shorter stretches
            middle = (first + end) // 2
            todo += [(first, middle), (middle, end)]
    return at
