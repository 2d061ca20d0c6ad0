"""Where an FLV file's codecs change: FFmpeg's demuxer opens another track there, of which nobody would hear.

Sources: Adobe, "Video File Format 10.1", annex E.4 (tags); Veovera, "Enhanced RTMP v2" (FOURCCs).
"""

from __future__ import annotations

import os
from typing import Final

from services.restreamer.sources.files import Readable
from services.restreamer.sources.flv_seek import KINDS, TAG, Seekable

_LOOK: Final = TAG + 5  # a tag's header, and as much of its body as names the codec
_NAMES: Final = {8: "audio", 9: "video"}
_FOURCCS: Final = {b"avc1": 7, b"mp4a": 10, b".mp3": 2}  # of what has a number, too


class FlvWatch:
    """Reads an FLV up to the tag at which the codec of its pictures or its sound changes; `changed` names which."""

    def __init__(self, file: Readable) -> None:
        self.changed = ""
        self._file = file
        self._codecs: dict[int, int | bytes] = {}
        self._newest: dict[int, int | bytes] = {}
        self._next = int.from_bytes(file.head()[5:9], "big") + 4  # where the next tag begins
        self._at = 0  # where reading goes on
        self._tail = b""  # what was read before that, if a tag may begin in it
        self._lost = False  # where tags make no sense FFmpeg looks for the next that does, and is not followed

    def read(self, size: int) -> bytes:
        """Read on."""
        if self.changed:
            return b""
        data = self._file.read(size)
        self._at += len(data)
        if not self._lost:
            self._look(self._tail + data)
        return data[: max(len(data) - (self._at - self._next), 0)] if self.changed else data

    def seekable(self) -> bool:
        """Tell whether the file can be read anywhere."""
        return isinstance(self._file, Seekable)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a byte, where the file is seekable."""
        assert isinstance(self._file, Seekable)  # noqa: S101  see `seekable`
        self._tail = b""
        self._at = self._file.seek(offset, whence)
        return self._at

    def tell(self) -> int:
        """Tell the byte that is read next."""
        return self._at

    def head(self) -> bytes:
        """Give the file's first bytes."""
        return self._file.head()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _look(self, data: bytes) -> None:
        """Go from tag to tag through what was read last; what is read elsewhere, now and then, is left alone."""
        base = self._at - len(data)
        while base <= self._next <= self._at - _LOOK:
            tag = data[self._next - base : self._next - base + _LOOK]
            kind, size = tag[0], int.from_bytes(tag[1:4], "big")
            self._lost = kind not in KINDS or tag[8:TAG] != b"\0\0\0"
            if self._lost:
                return
            if kind in _NAMES and size:
                codec, before = _codec(kind, tag[TAG:]), self._newest.get(kind)
                if self._codecs.setdefault(kind, codec) != codec == before:  # one tag alone is broken
                    self.changed = _NAMES[kind]
                    return
                self._newest[kind] = codec
            self._next += TAG + size + 4
        self._tail = data[self._next - base :] if base <= self._next < self._at else b""


def _codec(kind: int, body: bytes) -> int | bytes:
    enhanced = body[0] & 0x80 if kind == 9 else body[0] >> 4 == 9
    if enhanced:
        return _FOURCCS.get(body[1:5], body[1:5])
    return body[0] & 0x0F if kind == 9 else body[0] >> 4
