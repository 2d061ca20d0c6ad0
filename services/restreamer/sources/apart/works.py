"""Work that a child does on a stranger's packets: decoding, and what else leads to packets that are ours."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Iterator
from typing import Final, Protocol, cast

from services.restreamer.model import Kind, Packet, value
from services.restreamer.sources.frames import Raw

_FORM: Final = struct.Struct("<B6q")
_VIDEO, _KEY, _LIMITED = 1, 2, 4


@value
class Given:
    """A packet for work, none at the end; times in flicks.

    `shift` is what was added to the file's times, `start` and `limit` are the in and out point of what is played.
    """

    packet: Packet | None = None
    shift: int = 0
    start: int = 0
    limit: int | None = None

    def pack(self) -> bytes:
        """Put it into bytes; struct.error where times cannot be."""
        packet = self.packet or Packet("audio", 0, 0, 0, key=False, data=b"")
        flags = (packet.kind == "video") * _VIDEO | packet.key * _KEY | (self.limit is not None) * _LIMITED
        times = (packet.dts, packet.pts, packet.duration, self.shift, self.start, self.limit or 0)
        return _FORM.pack(flags, *times) + packet.data

    @classmethod
    def unpack(cls, data: bytes) -> Given:
        """Read it."""
        flags, dts, pts, duration, shift, start, limit = _FORM.unpack_from(data)
        kind: Kind = "video" if flags & _VIDEO else "audio"
        packet = Packet(kind, dts, pts, duration, bool(flags & _KEY), data[_FORM.size :])
        return cls(packet, shift, start, limit if flags & _LIMITED else None)


class Work(Protocol):
    """Work in progress. SourceError, MediaError, FFmpegError from all it does."""

    @property
    def over(self) -> bool:
        """Tell whether it needs no more packets."""
        ...

    @property
    def reached(self) -> int:
        """Tell how far it has come, flicks."""
        ...

    def begin(self) -> Iterator[Raw]:
        """Return what is known before the first packet."""
        ...

    def push(self, given: Given) -> Iterator[Raw]:
        """Take the next packet."""
        ...

    def finish(self, given: Given) -> Iterator[Raw]:
        """Take the end."""
        ...


class Commission(Protocol):
    """What is asked for; it is pickled, by us, for a child of ours, which trusts its parent alone."""

    def work(self) -> Work:
        """Begin it. SourceError, MediaError, FFmpegError."""
        ...


def packed(commission: Commission) -> bytes:
    """Put a commission into bytes."""
    return pickle.dumps(commission)


def unpacked(data: bytes) -> Commission:
    """Read one: in a child only, whose parent is trusted."""
    return cast("Commission", pickle.loads(data))  # noqa: S301  as above
