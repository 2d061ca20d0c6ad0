"""Laying the sound of a clip's spans on its time line, packet by packet, without decoding.

A packet's time follows from its span's, so that sound and picture never drift apart. A few packets before the clip's
first one only warm up the decoder; the edit list hides them. Where two spans meet, packets are left out so that
players that count samples instead of reading times also stay within half a packet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor

import numpy as np

from services.clipper.cutting.plan import ClipSpan
from shared.media.model import Int64s
from shared.media.preroll import preroll
from shared.media.seams.source import Audio

LOOK_BACK = 64  # packets before the first one, of which the smallest tells how many of them hold its data


@dataclass(frozen=True, eq=False)
class AudioPart:
    """Packets of one span: rows of its piece's audio table, and the clip time at which each begins, in ticks."""

    audio: Audio
    rows: Int64s
    at: Int64s


def lay_audio(spans: Sequence[ClipSpan]) -> list[AudioPart]:
    """Choose the packets that cover the spans, and their times; times before 0 are warm-up. Empty without sound."""
    parts: list[AudioPart] = []
    clip_time = Fraction(0)
    carry = 0  # how far a count of the packets is ahead of their times after the joins so far, in samples
    for span in spans:
        part = _positioned(span, clip_time)
        clip_time += span.end - span.start
        if part is None:
            continue
        if not parts:
            parts.append(_with_preroll(part))
            continue
        before, part, carry = _join(parts[-1], part, carry)
        parts[-1] = before
        if len(part.rows):
            parts.append(part)
    return parts


def _positioned(span: ClipSpan, clip_time: Fraction) -> AudioPart | None:
    """Return all packets that are heard between the span's start and end."""
    audio = span.piece.audio
    if audio is None:
        return None
    rate = audio.config.timescale
    start, end = ((moment - audio.base) * rate for moment in (span.start, span.end))
    rows = np.flatnonzero((audio.at + audio.table.duration > floor(start)) & (audio.at < ceil(end)))
    if not len(rows):
        return None
    return AudioPart(audio, rows, audio.at[rows] + round(clip_time * rate - start))


def _with_preroll(part: AudioPart) -> AudioPart:
    """Prepend the warm-up packets, as far as the packets before the first one have no hole."""
    audio, first = part.audio, int(part.rows[0])
    usual = audio.usual
    smallest = int(audio.table.size[max(first - LOOK_BACK, 0) : first + 1].min())
    count = preroll(audio.config, usual, smallest)
    begin = first
    while begin > 0 and first - begin < count and audio.at[begin] - audio.at[begin - 1] < 2 * usual:
        begin -= 1
    extra = np.arange(begin, first)
    shift = int(part.at[0] - audio.at[first])
    return AudioPart(audio, np.append(extra, part.rows), np.append(audio.at[extra] + shift, part.at))


def _join(before: AudioPart, after: AudioPart, carry: int) -> tuple[AudioPart, AudioPart, int]:
    """Leave out packets where two spans meet; return both parts and the new carry."""
    usual = before.audio.usual
    end = int(before.at[-1] + before.audio.table.duration[before.rows[-1]])
    surplus = end + carry - int(after.at[0])
    if surplus < -usual:
        return before, after, carry  # sound is missing there: only the times show it
    overlap_before = max(end - int(after.at[0]), 0)
    while surplus > usual // 2 and len(after.rows):
        if overlap_before > usual // 2 and len(before.rows) > 1:
            before = AudioPart(before.audio, before.rows[:-1], before.at[:-1])
            overlap_before = 0
        else:
            after = AudioPart(after.audio, after.rows[1:], after.at[1:])
        surplus -= usual
    while len(after.rows) and after.at[0] <= before.at[-1]:
        after = AudioPart(after.audio, after.rows[1:], after.at[1:])
        surplus -= usual
    return before, after, surplus
