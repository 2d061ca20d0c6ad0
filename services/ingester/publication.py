"""One publisher's stream, as both ingest servers provide it: frames as they arrive, and how it ended."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple, Protocol

from shared.errors import MediaError
from shared.media.timecode import Label
from shared.media.tracks import TrackConfig
from shared.messages.live import EndReason

VIDEO_SCALE = 90000
"""Ticks per second of video, of a publication's times, and of a session's time line."""
MAX_OFFSET = 10 * VIDEO_SCALE
"""The largest offset from a picture's decoding to its presentation time, ticks."""
Kind = Literal["video", "audio"]


class NotMedia(MediaError):  # noqa: N818  the tree of errors names what is wrong
    """The bytes are not the protocol's container format, or contain nothing that can be recorded."""


class NothingRecordable(NotMedia):
    """A stream has only `tracks`, none of which can be recorded."""

    def __init__(self, tracks: frozenset[str]) -> None:
        super().__init__(f"no track that can be recorded among {', '.join(sorted(tracks))}")
        self.tracks = tracks


class Arrival(NamedTuple):
    """When bytes arrived: the monotonic clock in ns, the wall clock in ms."""

    ns: int
    ms: int


class Frame(NamedTuple):
    """A frame: `dts` in unwrapped 90 kHz ticks of the encoder's clock, `offset` to its presentation time.

    `config` is the same object until the track's codec parameters change. `sync`: a decoder can start here, at an IDR
    or IRAP picture (`clean`) or at a recovery point. `payload` is as MP4 stores it; `duration` is known only for audio
    (ticks of the config's timescale). Sound tracks after the first have track ids from 3 on. `labels`: timecodes that
    came beside the pictures, and when they are shown, from `dts` on.
    """

    config: TrackConfig
    dts: int
    offset: int
    sync: bool
    payload: bytes
    duration: int = 0
    clean: bool = True
    labels: tuple[tuple[int, Label], ...] = ()


class Contents(NamedTuple):
    """A stream's known contents: the kinds of tracks `expected`, and the names of tracks that cannot be recorded.

    `further` is the number of sound tracks after the first.
    """

    expected: frozenset[Kind] = frozenset()
    unsupported: frozenset[str] = frozenset()
    further: int = 0


class Batch(NamedTuple):
    """What arrived at once: frames in sending order, and the contents known by then.

    `bytes`: the media bytes received; `damaged`: the number of unreadable units since the start.
    """

    arrival: Arrival
    frames: list[Frame]
    contents: Contents
    bytes: int
    damaged: int


class Publication(Protocol):
    """A stream being published. All members except `close` and the figures belong to one thread."""

    @property
    def end_reason(self) -> EndReason | None:
        """Why it ended; None while it continues."""
        ...

    @property
    def heard_ns(self) -> int:
        """The clock's monotonic time of the last media; from any thread."""
        ...

    @property
    def peer(self) -> object:
        """The publisher's address, printed as `address:port`."""
        ...

    @property
    def dropped_frames(self) -> int:
        """The number of frames that came before the sequence header they need."""
        ...

    @property
    def lost_packets(self) -> int:
        """The number of lost packets; from any thread."""
        ...

    def frames(self) -> Iterator[Batch]:
        """Yield frames until the stream ends, whatever ends it; called once.

        Raise NotMedia when it cannot be read at all, NothingRecordable when it has no track that can be recorded.
        """
        ...

    def close(self) -> None:
        """End the publication at once, from any thread."""
        ...
