"""The interfaces that playout needs, and the reports that it makes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from services.restreamer.model import How, Media, Track
from shared.messages.restreams import Item, PlaylistCursor, Source, TargetStatus


class DecodedPicture(Protocol):
    """A decoded picture."""

    @property
    def pixels(self) -> npt.NDArray[np.uint8]:
        """Height x width x RGBA."""
        ...


class Library(Protocol):
    """Where files come from. Calls block, come from several threads, and end soon after `stop` is set."""

    def open(self, source: Source, stop: Event) -> Media:
        """Open a file; `stop` also ends the waits of the returned media. SourceError."""
        ...

    def picture(self, source: Source, stop: Event) -> DecodedPicture:
        """Return a watermark picture, checked and cached. SourceError."""
        ...


@runtime_checkable
class Telling(Protocol):
    """A library that reports defects of a file that do not end it."""

    def telling(self, tell: Callable[[str], None]) -> Library:
        """Return a library whose files report to `tell`, at opening and later, from any thread."""
        ...


@runtime_checkable
class Closing(Protocol):
    """A library that holds resources for the next file."""

    def close(self) -> None:
        """Release the resources: no file follows."""
        ...


class Notes(Protocol):
    """Keeps the output's position. The sending thread, shared by all, calls it for every picture: it must not wait."""

    def note(self, spec_number: int, moved: int, cursor: tuple[int, int, int, int]) -> None:
        """Record the item, range, loop and flicks of what follows the last picture."""
        ...


@dataclass(frozen=True, slots=True)
class Started:
    """The first unit was sent to a target."""


@dataclass(frozen=True, slots=True)
class FileStarted:
    """A file's first picture was sent. `live`: it is the live event, and `item` is None."""

    cursor: PlaylistCursor
    item: Item | None
    how: How
    reason: str
    video: Track
    audio: Track | None
    duration: int | None
    live: bool = False


@dataclass(frozen=True, slots=True)
class Warned:
    """Something went wrong that does not end the playout; `shown` names the file in messages.

    `skipped`: the file is not played, or not to its end.
    """

    text: str
    item: int | None = None
    shown: str = ""
    skipped: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Ended:
    """The list was played, its end time has come, or nothing of it can be played (`failed`). Reported once, last."""

    failed: bool = False
    reason: str = ""


Report = Started | FileStarted | Warned | Ended
Reporter = Callable[[Report], None]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of playout. `cursor` is in list `spec_number`; `moved` is the number of the last move done."""

    cursor: PlaylistCursor
    spec_number: int = 0
    moved: int = 0
    played_ms: int = 0
    file: str = ""
    how: How | None = None
    live: bool = False
    paused: bool = False
    ended: bool = False
    targets: tuple[TargetStatus, ...] = ()
