"""One publisher's stream, as both ingest servers hand it over: frames as they come, and how it ended."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple, Protocol

from shared.errors import MediaError
from shared.media.model import TrackConfig
from shared.messages.live import EndReason

VIDEO_SCALE = 90000
"""Ticks a second of video, of a publication's times, and of a session's own time line."""
MAX_OFFSET = 10 * VIDEO_SCALE
"""No picture is shown longer after its decoding than this."""
Kind = Literal["video", "audio"]


class NotMedia(MediaError):  # noqa: N818  the tree of errors names what is wrong
    """What came is not what the protocol carries, or holds nothing that can be recorded."""


class NothingRecordable(NotMedia):
    """A stream holds `tracks`, and none that can be recorded."""

    def __init__(self, tracks: frozenset[str]) -> None:
        super().__init__(f"no track that can be recorded among {', '.join(sorted(tracks))}")
        self.tracks = tracks


class Arrival(NamedTuple):
    """When bytes have come: the monotonic clock in ns, the wall clock in ms."""

    ns: int
    ms: int


class Frame(NamedTuple):
    """A frame: `dts` in 90 kHz ticks of the encoder's clock without wraps, `offset` to its presentation time.

    `config` is the same object until the track's codec parameters change. `sync`: a decoder can begin here, at an IDR
    or IRAP picture (`clean`) or at a recovery point. `payload` is as MP4 stores it; `duration` is known of audio alone
    (ticks of the config's timescale).
    """

    config: TrackConfig
    dts: int
    offset: int
    sync: bool
    payload: bytes
    duration: int = 0
    clean: bool = True


class Contents(NamedTuple):
    """What a stream is known to hold: kinds of track to be `expected`, and names of what cannot be recorded."""

    expected: frozenset[Kind] = frozenset()
    unsupported: frozenset[str] = frozenset()


class Batch(NamedTuple):
    """What has come at once: frames in the order sent, and what the stream is known to hold by then.

    `frames` are the taker's to empty. `bytes` of media they came in; `damaged` counts what could not be read since the
    beginning.
    """

    arrival: Arrival
    frames: list[Frame]
    contents: Contents
    bytes: int
    damaged: int


class Publication(Protocol):
    """A stream being published. All but `close` and the figures belong to one thread."""

    @property
    def end_reason(self) -> EndReason | None:
        """Why it has ended; None while it goes on."""
        ...

    @property
    def heard_ns(self) -> int:
        """The clock's monotonic time when media last came; from any thread."""
        ...

    @property
    def peer(self) -> object:
        """Where the publisher is, printed as `address:port`."""
        ...

    @property
    def dropped_frames(self) -> int:
        """Count frames that came before the description they need."""
        ...

    @property
    def lost_packets(self) -> int:
        """Count packets that never came; from any thread."""
        ...

    def frames(self) -> Iterator[Batch]:
        """Wait for frames until the stream ends, whatever ends it; called once.

        Raise NotMedia for what cannot be read at all, NothingRecordable for what holds no track that can be recorded.
        """
        ...

    def close(self) -> None:
        """End it at once, from any thread."""
        ...
