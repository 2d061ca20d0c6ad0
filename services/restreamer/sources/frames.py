"""The interface of all demuxers: FFmpeg's in this process or in a child, and Reelay's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from services.restreamer.model import Kind, SourceError, Track, value
from services.restreamer.sources.containers.sniff import Container
from services.restreamer.sources.origins.files import Readable


@value
class Raw:
    """A frame with the file's times in flicks; dts may be missing. `track` is set when the frame's track is new."""

    kind: Kind
    dts: int | None
    pts: int
    duration: int
    key: bool
    data: bytes
    track: Track | None


class Demuxing(Protocol):
    """The interface of a Demuxer."""

    container: Container

    @property
    def broken(self) -> SourceError | None:
        """The error with which the file broke off."""
        ...

    @property
    def has_video(self) -> bool:
        """Whether there is a video track."""
        ...

    @property
    def has_audio(self) -> bool:
        """Whether there is an audio track."""
        ...

    @property
    def end(self) -> int | None:
        """When the file ends, flicks."""
        ...

    @property
    def shown_from(self) -> int | None:
        """When presentation of an mp4 starts, flicks."""
        ...

    @property
    def video_end(self) -> int | None:
        """When an mp4's video ends by its index, flicks."""
        ...

    @property
    def created_ms(self) -> int | None:
        """The wall clock of the file's creation."""
        ...

    def cover(self) -> bytes | None:
        """Return the cover picture of an audio-only file."""
        ...

    def seek(self, at: int) -> bool:
        """Seek to about `at` (flicks) or before; return False when that is not possible."""
        ...

    def frames(self) -> Iterator[Raw]:
        """Return the frames from the position of the last `seek`."""
        ...

    def close(self) -> None:
        """Close the container; the file stays open."""
        ...


Demux = Callable[[Readable, Container], Demuxing]
"""Opens a container with a Demuxer, here or in a child. Raises SourceError."""
