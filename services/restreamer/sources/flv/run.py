"""Read the usual tags of a local FLV file, H.264 and AAC, without FFmpeg (ADR 20).

A frame takes 14 us through PyAV and the watch for changes of codec, and 5 us here. Reading stops at the offset of an
unusual tag, where FFmpeg continues.

Sources: Adobe, "Video File Format 10.1", annex E.4; ITU-T H.264, table 7-1.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from services.restreamer.model import FLICKS
from services.restreamer.sources.containers.key_pictures import is_key
from services.restreamer.sources.containers.payloads import LENGTH
from services.restreamer.sources.flv.seek import configuration
from services.restreamer.sources.frames import Raw
from services.restreamer.sources.origins.files import LocalFile
from shared.media.bitstream.nal import H264_IDR, H264_SLICE
from shared.rtmp.flv import AAC, AUDIO, HEADER, KINDS, STREAM, VIDEO, read_header

BLOCK: Final = 1 << 18
"""Read at once: it stays in the caches until it is taken apart."""
_LOOK: Final = 64  # bytes that may be looked at behind what was read
_BEGIN: Final = struct.Struct(">II3sHQ")  # kind and size, time, stream id, codec and type, then see `_picture`
_TRAILER: Final = struct.Struct(">I")
_KEY, _INTER, _NO_MORE = 0x1701, 0x2701, 0x1702  # AVC NAL units of a keyframe or another picture, end of sequence
_PICTURES: Final = frozenset((_KEY, _INTER))
_VIDEO_HEAD, _SOUND_HEAD = HEADER + 5, HEADER + 2
_LONGEST_OFFSET, _NEGATIVE = 900_000, 1 << 23  # ms of composition time, a signed number of 24 bits
_LAST_MS: Final = 1 << 31
_BACK_MS, _FORWARD_MS = 500, 10_000
_MOST_DOUBTED: Final = 64  # tags, as in FlvFinder
_MOST_BYTES: Final = 8 << 20  # of these tags, as in Watch
_MS: Final = FLICKS // 1000


@dataclass(frozen=True, slots=True)
class Begin:
    """The start of a file: header and configurations (`head`), the first frame's offset, and both configurations.

    `sound` is the first two bytes of each audio tag's body; 0: there is no audio.
    """

    head: bytes
    at: int
    avc: bytes
    aac: bytes
    sound: int


def read_begin(file: LocalFile) -> Begin | None:
    """Return the start of a file; None unless it has one H.264 configuration, and at most one of AAC."""
    found = configuration(file)
    if found is None:
        return None
    head, at = found
    configs: dict[int, bytes] = {}
    offset = int.from_bytes(head[5:9], "big") + 4
    while offset < len(head):
        tag = read_header(head, offset)
        kind, end = tag.kind, offset + HEADER + tag.size
        if kind in configs:
            return None
        configs[kind] = head[offset + HEADER : end]
        offset += tag.whole
    avc, aac = configs.get(VIDEO, b""), configs.get(AUDIO, b"")
    if avc[:2] != b"\x17\0" or (aac and aac[0] >> 4 != AAC):
        return None
    return Begin(head, at, avc[5:], aac[2:], aac[0] << 8 | 1 if aac else 0)


class Run:
    """Reads usual tags from the first frame on. `stopped` is the offset of an unusual tag; None: the file ended.

    A keyframe may be the first tag of another encoder, as later tags show: so `frames` yields it only after audio has
    followed, and `stopped` may be its offset.
    """

    def __init__(self, file: LocalFile, begin: Begin, lengths: tuple[int, int]) -> None:
        self.stopped: int | None = None
        self._file, self._begin = file, begin
        self._picture_length, self._sound_length = lengths
        self._buffer = bytearray(BLOCK + _LOOK)
        self._base = begin.at  # the offset of the buffer's first byte
        self._end = 0  # of the data in the buffer
        self._following = 0  # the next picture's pts, if the file does not tell it

    def frames(self) -> Iterator[Raw]:
        """Yield frames up to the first tag that is not usual."""
        doubted: list[Raw] = []
        doubt: int | None = None
        kinds: set[str] = set()
        size = 0
        for at, key_tag, raw in self._tags():
            if doubt is None:
                if not key_tag or not self._begin.sound:
                    yield raw
                    continue
                doubt = at
                kinds.clear()
                size = 0
            doubted.append(raw)
            kinds.add(raw.kind)
            size += len(raw.data)
            if len(kinds) == 2 or len(doubted) > _MOST_DOUBTED or size > _MOST_BYTES:
                yield from doubted
                doubted.clear()
                doubt = None
        if self.stopped is None or doubt is None:
            yield from doubted
        else:
            self.stopped = doubt

    def _tags(self) -> Iterator[tuple[int, bool, Raw]]:
        """Yield each tag's offset, whether it is marked as a keyframe, and its frame."""
        at, newest, sound, length = 0, -1, self._begin.sound, self._sound_length
        while True:
            first, stamp, stream, begin, rest = _BEGIN.unpack_from(self._buffer, at)
            end = at + HEADER + (first & 0xFFFFFF)
            if end + 4 > self._end:
                if not self._fill(at, end + 4 - at):
                    self.stopped = None if self._breaks_off() else self._base
                    return
                at = 0
                continue
            ms, kind = stamp >> 8 | (stamp & 0xFF) << 24, first >> 24
            newest = ms if newest < 0 else newest
            steady = -_BACK_MS < ms - newest < _FORWARD_MS and ms < _LAST_MS
            raw: Raw | None = None
            if not steady or stream != STREAM or _TRAILER.unpack_from(self._buffer, end)[0] != end - at:
                break
            if kind == VIDEO and begin in _PICTURES:
                raw = self._picture(ms, rest, at + _VIDEO_HEAD, end)
            elif kind == AUDIO and begin == sound and end > at + _SOUND_HEAD:
                data = bytes(memoryview(self._buffer)[at + _SOUND_HEAD : end])
                raw = Raw("audio", ms * _MS, ms * _MS, length, True, data, None)
            if raw is not None:
                newest = max(newest, ms)
                yield self._base + at, begin == _KEY, raw
            elif kind != VIDEO or begin != _NO_MORE or end != at + _VIDEO_HEAD:  # FFmpeg ends its files so
                break
            at = end + 4
        self.stopped = self._base + at

    def _picture(self, ms: int, rest: int, at: int, end: int) -> Raw | None:
        """Return the picture whose data start at `at`; None when FFmpeg must parse it."""
        offset, nal = rest >> 40, rest & 31
        known = nal in (H264_SLICE, H264_IDR) and 0 < (rest >> 8 & 0xFFFFFFFF) <= end - at - LENGTH
        key = nal == H264_IDR if known else is_key(self._buffer, at, end)
        if offset & _NEGATIVE or key is None:
            return None
        dts: int | None = ms * _MS
        pts = (ms + offset) * _MS
        if offset > _LONGEST_OFFSET:  # FFmpeg rejects such an offset; this has the same result
            dts, pts = None, self._following
        self._following = pts + self._picture_length
        return Raw("video", dts, pts, self._picture_length, key, bytes(memoryview(self._buffer)[at:end]), None)

    def _fill(self, at: int, wanted: int) -> bool:
        """Fill the buffer from the tag at `at` on; return whether it has `wanted` bytes."""
        if wanted + _LOOK > len(self._buffer):
            self._buffer = bytearray(wanted + _LOOK)
        self._base += at
        self._end = self._file.read_at(self._base, memoryview(self._buffer)[:-_LOOK])
        return self._end >= wanted

    def _breaks_off(self) -> bool:
        """Return whether the file ends here, or within a tag, which no demuxer would return."""
        first, _, stream, _, _ = _BEGIN.unpack_from(self._buffer)
        if self._end < HEADER:
            return True
        return first >> 24 in KINDS and stream == STREAM and self._end < HEADER + (first & 0xFFFFFF)
