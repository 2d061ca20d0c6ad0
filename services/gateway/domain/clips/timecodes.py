"""Ranges by timecode: resolved to stream time when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Final

from services.gateway.domain.clips.timecode_search import NoTimecodes, TimecodeIndex, TimecodeSearch
from services.gateway.domain.clips.window import ClipRange, TimecodeRange
from services.gateway.domain.errors import Invalid, invalid
from shared.media.timecode_line import Found, NoSuchTimecode

BEFORE: Final = Fraction(1)
"""How far the first picture may begin before the stream, s."""


class Timecodes:
    """Turns ranges by timecode into ranges of the stream's clock."""

    def __init__(self, index: TimecodeIndex) -> None:
        self._index = index

    async def settle(
        self, account: str, job: str, asked: Sequence[ClipRange | TimecodeRange], zero: Fraction = Fraction(0)
    ) -> list[ClipRange | Invalid]:
        """Return each range by the stream's clock, which begins at `zero`, or the wall's, or what is wrong with it."""
        search: TimecodeSearch | None = None
        settled: list[ClipRange | Invalid] = []
        for one in asked:
            if isinstance(one, ClipRange):
                settled.append(one)
                continue
            search = search or await self._index.open(account, job)
            settled.append(await _settled(one, search, zero))
        return settled


async def _settled(asked: TimecodeRange, search: TimecodeSearch, zero: Fraction) -> ClipRange | Invalid:
    try:
        found = await search.find(asked.start, asked.end, wait=asked.wait)
    except NoTimecodes as error:
        why = "the encoder sends no timecodes; use stream_start_time or start_time"
        return invalid(_name(asked, error), why, code="NO_TIMECODES")
    except NoSuchTimecode as error:
        return invalid(_name(asked, error), str(error), code="NO_SUCH_TIMECODE")
    start, end = _from(zero, found)
    if any(point is not None and point < 0 for point in (start, end)):
        return invalid(asked.names.start, "lies in an earlier activation", code="NO_SUCH_TIMECODE")
    return ClipRange("stream", start, end, asked.duration, asked.wait, asked.names)


def _from(zero: Fraction, found: Found) -> tuple[Fraction | None, Fraction | None]:
    """Return start and end, counted from `zero`; the first picture's begins a little before the stream."""
    start, end = (None if point is None else point - zero for point in (found.start, found.end))
    return Fraction(0) if start is not None and -BEFORE < start < 0 else start, end


def _name(asked: TimecodeRange, error: NoSuchTimecode) -> str:
    return asked.names.start if error.end == "start" else asked.names.end
