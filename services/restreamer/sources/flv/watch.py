"""Find where an FLV file's codecs change, by its tags.

Sources: Adobe, "Video File Format 10.1", annex E.4 (tags); Veovera, "Enhanced RTMP v2" (FOURCCs).
"""

from __future__ import annotations

import struct
from typing import Final

from services.restreamer.sources.containers.watch import MOST_DOUBTED
from shared.rtmp.flv import (
    AAC,
    AUDIO,
    AVC,
    CODED_FRAMES,
    CODED_FRAMES_X,
    HEADER,
    HEVC,
    KEY_FRAME,
    KINDS,
    MP3,
    STREAM,
    TRAILER,
    VIDEO,
    is_enhanced,
    is_sequence_header,
)  # fmt: skip

_LOOK: Final = HEADER + 16  # a tag's header, and as much of its body as names the codec
_NAMES: Final = {AUDIO: "audio", VIDEO: "video"}
_BEGIN: Final = struct.Struct(">I4x3s2s")  # kind and size, stream id, the body's first bytes
_FOURCCS: Final = {b"avc1": AVC, b"mp4a": AAC, b".mp3": MP3}  # of what has a number, too
_CODED: Final = frozenset((CODED_FRAMES, CODED_FRAMES_X))  # enhanced packet types that are pictures
_WITH_TYPE: Final = frozenset((AVC, HEVC))  # codecs whose next byte is 1 for pictures
_MOST_TAGS: Final = 64
_LARGEST_HEADER: Final = 1 << 16
Codec = int | bytes


class FlvFinder:
    """Follows the tags. A single tag of another codec counts as broken; at the second one, the codec has changed.

    A restarted encoder sends metadata, a sequence header or a keyframe before any tag that shows its codecs: from
    there on all tags are in doubt, until audio and video with the old codecs have come.
    """

    def __init__(self, head: bytes) -> None:
        self.doubt: int | None = None
        self.changed = ""
        self._file_head = head[: int.from_bytes(head[5:9], "big")] + bytes(4)
        self._next = int.from_bytes(head[5:9], "big") + 4  # the next tag's offset
        self._codecs: dict[int, Codec] = {}
        self._seen: set[int] = set()  # the kinds with their old codecs, since the doubt began
        self._usual: set[tuple[int, bytes]] = set()  # kinds and first bytes of tags that bring no news
        self._tags = 0
        self._other: tuple[int, Codec] | None = None
        self._headers: dict[int, bytes] = {}
        self._lost = False  # FFmpeg skips invalid tags; this finder then stops following them

    def head(self) -> bytes:
        """Return the file's header, and the decoder configuration of the kind that has not changed."""
        kept = (tag for kind, tag in self._headers.items() if _NAMES[kind] != self.changed)
        return b"".join((self._file_head, *kept))

    def look(self, data: bytes | bytearray, base: int) -> int:
        """Check the data tag by tag."""
        end = base + len(data)
        while self._goes_on(data, base):
            at = self._next - base
            first, stream, begin = _BEGIN.unpack_from(data, at)
            kind, size = first >> 24, first & 0xFFFFFF
            self._lost = kind not in KINDS or stream != STREAM
            body, whole = bytes(data[at + HEADER : at + _LOOK]), HEADER + size + TRAILER
            header = kind in _NAMES and is_sequence_header(kind, body) and size < _LARGEST_HEADER
            if self._lost or (header and self._next + whole > end):
                break
            begins = header or kind not in _NAMES or _is_key(kind, body)
            if self.doubt is None and begins:
                self.doubt, self._tags = self._next, 0
                self._seen.clear()
            if kind in _NAMES and size:
                self._judge(kind, body)
                if self.doubt is None and not begins and not is_enhanced(kind, body[0]):
                    self._usual.add((kind, begin))
            if header and self._other is None:
                self._headers[kind] = bytes(data[at : at + whole])
            if not self.changed:
                self._next += whole
        if self.doubt is not None and not self.changed:
            self._give_up(end - self.doubt)
        if self.doubt is not None:
            return self.doubt
        return end if self._lost or self._next < base else self._next

    def _goes_on(self, data: bytes | bytearray, base: int) -> bool:
        """Skip tags that bring no news, which are nearly all; return whether there is another tag to check."""
        if self._lost or self.changed or self._next < base:
            return False
        at, last = self._next - base, len(data) - _LOOK
        if self.doubt is None:
            while at <= last:
                first, stream, begin = _BEGIN.unpack_from(data, at)
                size = first & 0xFFFFFF
                if (first >> 24, begin) not in self._usual or size < len(begin) or stream != STREAM:
                    break
                at += HEADER + size + TRAILER
            self._next = base + at
        return at <= last

    def _judge(self, kind: int, body: bytes) -> None:
        """Compare a tag's codec with the one that its kind had before."""
        codec = _codec(kind, body)
        self._tags += 1
        if self._codecs.setdefault(kind, codec) == codec:
            self._seen.add(kind)
            if self._other is not None and self._other[0] == kind:
                self._other = None
            if self._other is None and self._seen >= self._codecs.keys():
                self.doubt = None
        elif self._other is None:
            self._other = kind, codec
            self.doubt = self._next if self.doubt is None else self.doubt
        elif self._other == (kind, codec):
            self.changed = _NAMES[kind]

    def _give_up(self, size: int) -> None:
        """End a doubt that cannot be resolved: a kind has ended, or the tags are invalid."""
        if self._lost or size > MOST_DOUBTED:
            self.doubt = self._other = None
            self._lost = True
        elif self._other is None and self._tags > _MOST_TAGS:
            self.doubt = None

    def skip(self, to: int, *, known: bool = False) -> None:
        """Continue with the tag at an offset; stop following when it is not known that one starts there."""
        self.doubt, self._other, self._next = None, None, to
        self._lost = not known


def _is_key(kind: int, body: bytes) -> bool:
    if kind != VIDEO or body[0] >> 4 & 7 != KEY_FRAME:
        return False
    form = body[0] & 15
    return form in _CODED if is_enhanced(kind, body[0]) else form not in _WITH_TYPE or body[1] == CODED_FRAMES


def _codec(kind: int, body: bytes) -> Codec:
    if is_enhanced(kind, body[0]):
        return _FOURCCS.get(body[1:5], body[1:5])
    return body[0] & 0x0F if kind == VIDEO else body[0] >> 4
