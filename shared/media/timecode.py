"""SMPTE timecodes (ST 12-1): reading and writing their labels, and counting in them.

A label names a frame: hours, minutes, seconds, and the frame within the second. Labels count 24, 25, 30 ... a second;
at 1000/1001 of that rate they fall behind the clock, unless some are dropped: at 30 the first two of each minute, at 60
the first four, except in every tenth minute (ST 12-1, 5.2.2). After 23:59:59 they begin again.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from shared.errors import MediaError

HOURS: Final = 24
MINUTES_A_DAY: Final = HOURS * 60
MOST_FRAMES: Final = 120
_TEXT: Final = re.compile(r"([0-9]{1,2})[:;.]([0-9]{1,2})[:;.]([0-9]{1,2})([:;.,])([0-9]{1,3})", re.ASCII)


class TimecodeError(MediaError):
    """A text is no timecode, or the stream does not count such a label."""


class Label(NamedTuple):
    """A timecode as its parts; `drop`: it was marked as drop frame."""

    hours: int
    minutes: int
    seconds: int
    frames: int
    drop: bool = False

    def __str__(self) -> str:
        """Return "HH:MM:SS:FF", or "HH:MM:SS;FF" for drop frame."""
        mark = ";" if self.drop else ":"
        return f"{self.hours:02}:{self.minutes:02}:{self.seconds:02}{mark}{self.frames:02}"

    @property
    def is_sound(self) -> bool:
        """Whether hours, minutes, seconds and frames lie in their ranges at any rate."""
        return self.hours < HOURS and self.minutes < 60 and self.seconds < 60 and self.frames < MOST_FRAMES


def parse_label(text: str) -> Label:
    """Read "HH:MM:SS:FF"; a semicolon before the frames means drop frame, "." and "," mean nothing. TimecodeError."""
    found = _TEXT.fullmatch(text.strip())
    if found is None:
        raise TimecodeError("is not a timecode HH:MM:SS:FF")
    hours, minutes, seconds, mark, frames = found.groups()
    label = Label(int(hours), int(minutes), int(seconds), int(frames), mark == ";")
    for name, limit in (("hours", HOURS), ("minutes", 60), ("seconds", 60)):
        if getattr(label, name) >= limit:
            raise TimecodeError(f"{name} run from 0 to {limit - 1}")
    if not label.is_sound:
        raise TimecodeError(f"frames run from 0 to {MOST_FRAMES - 1} at most")
    return label


class Counting(NamedTuple):
    """How a stream counts: `base` labels a second, some of them dropped or not."""

    base: int
    drop: bool = False

    @property
    def dropped(self) -> int:
        """The number of labels that most minutes lack."""
        return self.base // 15 if self.drop else 0

    @property
    def a_day(self) -> int:
        """The number of labels in a day."""
        return MINUTES_A_DAY * 60 * self.base - self.dropped * (MINUTES_A_DAY - MINUTES_A_DAY // 10)

    def lacks(self, label: Label) -> bool:
        """Return whether a label is one of those that drop frame leaves out."""
        return label.seconds == 0 and label.minutes % 10 > 0 and label.frames < self.dropped

    def number(self, label: Label) -> int:
        """Return a label's number in its day, from 0; TimecodeError when the stream does not count it."""
        if label.frames >= self.base:
            raise TimecodeError(f"the stream counts {self.base} frames a second: they run from 0 to {self.base - 1}")
        if self.lacks(label):
            first = label._replace(frames=self.dropped, drop=True)
            raise TimecodeError(f"is left out by drop frame: the minute begins at {first}")
        minutes = label.hours * 60 + label.minutes
        count = (minutes * 60 + label.seconds) * self.base + label.frames
        return count - self.dropped * (minutes - minutes // 10)

    def label(self, number: int) -> Label:
        """Return the label of a number, on any day."""
        number %= self.a_day
        if self.drop:
            ten = 600 * self.base - 9 * self.dropped
            minute = 60 * self.base - self.dropped
            tens, rest = divmod(number, ten)
            number += self.dropped * 9 * tens
            if rest >= self.dropped:
                number += self.dropped * ((rest - self.dropped) // minute)
        seconds, frames = divmod(number, self.base)
        return Label(seconds // 3600, seconds // 60 % 60, seconds % 60, frames, self.drop)
