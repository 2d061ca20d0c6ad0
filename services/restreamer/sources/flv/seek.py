"""Find a time in an FLV file, which has no index, by bisection: tags carry their times.

Source: Adobe, "Video File Format 10.1", annex E.4.1 (tags); each tag's size is repeated after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple, Protocol, runtime_checkable

from services.restreamer.model import FLICKS
from shared.rtmp.flv import HEADER, KINDS, SCRIPT, STREAM, TRAILER, is_sequence_header, read_header, trailer

WINDOW: Final = 1 << 19
STEP: Final = 1 << 15
NEAR: Final = 1 << 20  # within this many bytes, reading is as fast as bisection
BEFORE_MS: Final = 3000  # a keyframe is likely within this time
LONGEST_HEAD: Final = 4 << 20
MOST_TAGS: Final = 4096  # before the first frame's tag
MOST_CANDIDATES: Final = 1 << 13  # in a window
MOST_FOLLOWED: Final = 64  # of these, by a look at where the next tag would be


@runtime_checkable
class Seekable(Protocol):
    """A file that can seek."""

    def read(self, size: int) -> bytes: ...  # noqa: D102
    def seek(self, offset: int, whence: int = 0) -> int: ...  # noqa: D102


class _Tag(NamedTuple):
    at: int
    kind: int
    size: int
    ms: int

    @property
    def end(self) -> int:
        return self.at + HEADER + self.size + TRAILER


class FlvFrom:
    """An FLV whose tags start at `offset` of a file, after the header and the decoders' configurations."""

    def __init__(self, file: Seekable, head: bytes, offset: int) -> None:
        self._file = file
        self._head = head
        file.seek(offset)

    def read(self, size: int) -> bytes:
        """Read the next bytes."""
        if self._head:
            piece, self._head = self._head[:size], self._head[size:]
            return piece
        return self._file.read(size)

    def head(self) -> bytes:
        """Return the first bytes."""
        return self._head

    def close(self) -> None:
        """Leave the file open for its owner."""


def flv_from(file: Seekable, at: int) -> FlvFrom | None:
    """Return a file that starts some seconds before `at` (flicks, its own clock); None when its tags are invalid."""
    size = file.seek(0, 2)
    found = configuration(file)
    if found is None:
        return None
    head, low = found
    high, wanted = size, at * 1000 // FLICKS - BEFORE_MS
    while high - low > NEAR:
        middle = (low + high) // 2
        tag = _tag_after(file, middle, high)
        if tag is None or tag.ms > wanted:
            high = middle
        else:
            low = tag.at
    return FlvFrom(file, head, low)


def configuration(file: Seekable) -> tuple[bytes, int] | None:
    """Return the file's header with its sequence header tags, and the offset of the first frame's tag."""
    data = _read(file, 0, 13)
    if data[:3] != b"FLV" or len(data) < 13:
        return None
    at = int.from_bytes(data[5:9], "big") + 4
    kept = [data[:at]]
    for _ in range(MOST_TAGS):
        data = _read(file, at, HEADER + 16)
        tag = _tag(data, 0, at)
        if tag is None:
            return None
        if tag.kind != SCRIPT and not is_sequence_header(tag.kind, data[HEADER:]):
            return b"".join(kept), at
        if tag.end > LONGEST_HEAD:
            return None
        if tag.kind != SCRIPT:
            kept.append(_read(file, at, tag.end - at))
        at = tag.end
    return None


def _tag_after(file: Seekable, at: int, limit: int) -> _Tag | None:
    """Return the first tag at or after `at`, within one window, that is followed by another tag."""
    data, until, looked = b"", min(at + WINDOW, limit), 8
    candidates = followed = 0
    while at + len(data) < until:
        data += _read(file, at + len(data), STEP)
        for offset in _candidates(data, looked):
            tag = _tag(data, offset, at)
            candidates, followed = candidates + 1, followed + (tag is not None)
            if tag is not None and _is_followed(file, tag):
                return tag
            if candidates > MOST_CANDIDATES or followed > MOST_FOLLOWED:
                return None
        looked = len(data) - HEADER
    return None


def _is_followed(file: Seekable, tag: _Tag) -> bool:
    after = _read(file, tag.end - TRAILER, TRAILER + HEADER)
    return after[:TRAILER] == trailer(tag.size) and _tag(after, TRAILER, 0) is not None


def _candidates(data: bytes, start: int) -> Iterator[int]:
    """Yield where tags may begin: their stream id is three zeros."""
    at = data.find(STREAM, start)
    while at >= 0:
        yield at - 8
        at = data.find(STREAM, at + 1)


def _tag(data: bytes, offset: int, base: int) -> _Tag | None:
    if len(data) < offset + HEADER:
        return None
    kind, size, ms, stream = read_header(data, offset)
    return _Tag(base + offset, kind, size, ms) if kind in KINDS and size and stream == STREAM else None


def _read(file: Seekable, at: int, count: int) -> bytes:
    file.seek(at)
    data = bytearray()
    while len(data) < count and (piece := file.read(count - len(data))):
        data += piece
    return bytes(data)
