"""Ranges by timecode: resolved to stream time when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from services.gateway.domain.clips.timecode_search import NoTimecodes, TimecodeIndex, TimecodeSearch
from services.gateway.domain.clips.window import ClipRange, TimecodeRange
from services.gateway.domain.errors import Invalid, invalid
from shared.media.timecode_line import Found, NoSuchTimecode


class Timecodes:
    """Turns ranges by timecode into ranges of the stream's clock."""

    def __init__(self, index: TimecodeIndex) -> None:
        self._index = index

    async def settle(
        self, account: str, job: str, asked: Sequence[ClipRange | TimecodeRange]
    ) -> list[ClipRange | Invalid]:
        """Return each range by the stream's clock or the wall's, or what is wrong with it."""
        search: TimecodeSearch | None = None
        settled: list[ClipRange | Invalid] = []
        for one in asked:
            if isinstance(one, ClipRange):
                settled.append(one)
                continue
            search = search or await self._index.open(account, job)
            settled.append(await _settled(one, search))
        return settled


async def _settled(asked: TimecodeRange, search: TimecodeSearch) -> ClipRange | Invalid:
    try:
        found = await search.find(asked.start, asked.end, wait=asked.wait)
    except NoTimecodes as error:
        why = "the encoder sends no timecodes; use stream_start_time or start_time"
        return invalid(_name(asked, error), why, code="NO_TIMECODES")
    except NoSuchTimecode as error:
        return invalid(_name(asked, error), str(error), code="NO_SUCH_TIMECODE")
    start, end = _from_zero(found)
    return ClipRange("stream", start, end, asked.duration, asked.wait, asked.names)


def _from_zero(found: Found) -> tuple[Fraction | None, Fraction | None]:
    """Return start and end; the first picture's begins a little before the stream."""
    return None if found.start is None else max(found.start, Fraction(0)), found.end


def _name(asked: TimecodeRange, error: NoSuchTimecode) -> str:
    return asked.names.start if error.end == "start" else asked.names.end
