"""Timecodes in requests."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from shared.media.timecode import Counting, TimecodeError, parse_label


def _timecode(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a text HH:MM:SS:FF")  # noqa: TRY004  pydantic takes no other
    try:
        label = parse_label(value)
    except TimecodeError as error:
        raise ValueError(str(error)) from error
    if label.drop and Counting(30, drop=True).lacks(label):
        raise ValueError("is left out by drop frame: the minute begins at frame 2 or later")
    return value


TimecodeText = Annotated[
    str,
    BeforeValidator(_timecode),
    WithJsonSchema({"type": "string", "maxLength": 16, "description": "HH:MM:SS:FF, or HH:MM:SS;FF for drop frame"}),
]
