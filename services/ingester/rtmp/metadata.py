"""Data messages: sanitised onMetaData, and timed events (onCuePoint, onFI, onTextData ...)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from shared.media.timecode import Label, TimecodeError, parse_label
from shared.rtmp.cursor import Value

# The events that carry timecodes, and the names they have there. `sd` and `st` beside them are date and time of day.
_TIMED = frozenset({"onFI", "onTextData"})
_TIMECODES = ("tc", "timecode", "timeCode")
_NUMBERS = frozenset({
    "width", "height", "framerate", "fps", "videodatarate", "audiodatarate", "videocodecid", "audiocodecid",
    "audiosamplerate", "audiosamplesize", "audiochannels", "stereo",
})  # fmt: skip
_TEXTS = frozenset({"videocodecid", "audiocodecid", "encoder"})
_MAX_TEXT = 64
_MAX_NUMBER = 2.0**40


class DataEvent(NamedTuple):
    """A timed data message: RTMP timestamp in ms (modulo 2**32), its name, its values as received."""

    timestamp: int
    name: str
    values: tuple[Value, ...]


def read_data(timestamp: int, values: list[Value]) -> DataEvent | None:
    """Return a decoded data message with its name, without `@setDataFrame`; None when it has no name."""
    if values and values[0] == "@setDataFrame":
        values = values[1:]
    if not values or not isinstance(values[0], str):
        return None
    return DataEvent(timestamp, values[0], tuple(values[1:]))


def timecode_of(event: DataEvent) -> Label | None:
    """Return the timecode in an onFI or onTextData, as FMLE, Wirecast and Elemental send them; None without one."""
    found = event.values[0] if event.name in _TIMED and event.values else None
    if not isinstance(found, Mapping):
        return None
    for name in _TIMECODES:
        value = found.get(name)
        if isinstance(value, str) and len(value) <= _MAX_TEXT:
            try:
                return parse_label(value)
            except TimecodeError:
                continue
    return None


def sanitise(event: DataEvent) -> dict[str, Value]:
    """Return the safe values of an onMetaData: known names, finite numbers, short printable text."""
    found = event.values[0] if event.values else None
    if not isinstance(found, Mapping):
        return {}
    return {name: value for name, value in found.items() if _harmless(name, value)}


def _harmless(name: str, value: Value) -> bool:
    if isinstance(value, bool):
        return name in _NUMBERS
    if isinstance(value, float):
        return name in _NUMBERS and math.isfinite(value) and abs(value) <= _MAX_NUMBER
    if isinstance(value, str):
        return name in _TEXTS and len(value) <= _MAX_TEXT and value.isascii() and value.isprintable()
    return False
