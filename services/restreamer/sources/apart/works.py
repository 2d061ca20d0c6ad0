"""Work that a child does on untrusted packets: decoding, and further steps to trusted packets."""

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
    """The input of work: a packet, and the times of its part (flicks); no packet at the end."""

    packet: Packet | None = None
    shift: int = 0
    start: int = 0
    limit: int | None = None

    def pack(self) -> bytes:
        """Return it as bytes; raise struct.error when times are impossible."""
        packet = self.packet or Packet("audio", 0, 0, 0, key=False, data=b"")
        flags = (packet.kind == "video") * _VIDEO | packet.key * _KEY | (self.limit is not None) * _LIMITED
        times = (packet.dts, packet.pts, packet.duration, self.shift, self.start, self.limit or 0)
        return _FORM.pack(flags, *times) + packet.data

    @classmethod
    def unpack(cls, data: bytes) -> Given:
        """Return it from bytes."""
        flags, dts, pts, duration, shift, start, limit = _FORM.unpack_from(data)
        kind: Kind = "video" if flags & _VIDEO else "audio"
        packet = Packet(kind, dts, pts, duration, bool(flags & _KEY), data[_FORM.size :])
        return cls(packet, shift, start, limit if flags & _LIMITED else None)


class Work(Protocol):
    """Work in progress. All methods raise SourceError, MediaError or FFmpegError."""

    @property
    def over(self) -> bool:
        """Whether it needs no more packets."""
        ...

    @property
    def reached(self) -> int:
        """The time that it has reached, flicks."""
        ...

    def begin(self) -> Iterator[Raw]:
        """Return the frames that are known before the first packet."""
        ...

    def push(self, given: Given) -> Iterator[Raw]:
        """Handle the next packet."""
        ...

    def finish(self, given: Given) -> Iterator[Raw]:
        """Handle the end of the packets."""
        ...


class Commission(Protocol):
    """A description of work; this process pickles it for the child, which trusts its parent."""

    def work(self) -> Work:
        """Start the work. Raise SourceError, MediaError or FFmpegError."""
        ...


def packed(commission: Commission) -> bytes:
    """Return a commission as bytes."""
    return pickle.dumps(commission)


def unpacked(data: bytes) -> Commission:
    """Return a commission from bytes: only in a child, which trusts its parent."""
    return cast("Commission", pickle.loads(data))  # noqa: S301  as above
