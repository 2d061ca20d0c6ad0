"""What demuxers are to those who read by them, wherever they are: in this process, in a child, our own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from services.restreamer.model import Kind, SourceError, Track, value
from services.restreamer.sources.containers.sniff import Container
from services.restreamer.sources.origins.files import Readable


@value
class Raw:
    """A frame with its times in flicks as the file has them; a dts may be missing. `track`: its track is new."""

    kind: Kind
    dts: int | None
    pts: int
    duration: int
    key: bool
    data: bytes
    track: Track | None


class Demuxing(Protocol):
    """What a Demuxer is to those who read by it."""

    container: Container

    @property
    def broken(self) -> SourceError | None:
        """Return what the file broke off with."""
        ...

    @property
    def has_video(self) -> bool:
        """Tell whether there is a video track."""
        ...

    @property
    def has_audio(self) -> bool:
        """Tell whether there is a sound track."""
        ...

    @property
    def end(self) -> int | None:
        """Return when the file ends, flicks."""
        ...

    @property
    def shown_from(self) -> int | None:
        """Return when an mp4 begins to be shown."""
        ...

    @property
    def video_end(self) -> int | None:
        """Return when an mp4's video ends by its index."""
        ...

    @property
    def created_ms(self) -> int | None:
        """Return the wall clock of its creation."""
        ...

    def cover(self) -> bytes | None:
        """Read the picture that comes with sound alone."""
        ...

    def seek(self, at: int) -> bool:
        """Go to about `at` (flicks) or before; False when that cannot be."""
        ...

    def frames(self) -> Iterator[Raw]:
        """Return the frames from where the last `seek` went."""
        ...

    def close(self) -> None:
        """Close the container; the file is its maker's."""
        ...


Demux = Callable[[Readable, Container], Demuxing]
"""Opens a container: a Demuxer, or one that is elsewhere. SourceError."""
