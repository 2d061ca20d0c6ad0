"""Packs units into RTMP chunks, the same bytes for all targets (RTMP 1.0, section 5.3).

Every message has a header of format 0, so that any target can start at any message; times are the programme's, in ms
modulo 2**32; chunks have 65536 bytes; the message stream is 1, which all known servers assign first.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from services.restreamer.model import FLICKS, Track, Unit
from services.restreamer.targets.rtmp import tags
from services.restreamer.targets.terms import Block, Tracks
from shared.rtmp.chunks import AUDIO, DATA_AMF0, EXTENDED, VIDEO

CHUNK_SIZE = 65536
USUAL_STREAM = 1
_AUDIO_CHUNKS, _VIDEO_CHUNKS = 4, 6  # as FFmpeg numbers them
_LONGEST = 0xFFFFFF
_FLICKS_A_MS = FLICKS // 1000
_HEADER = struct.Struct(">II4s")
_EXTENDED_HEADER = struct.Struct(">II4sI")
_STREAM_ID = USUAL_STREAM.to_bytes(4, "little")
_STREAM_ID_AT = 8


def to_ms(flicks: int) -> int:
    """Round to ms; each time on its own, so that errors do not add up."""
    return (flicks + _FLICKS_A_MS // 2) // _FLICKS_A_MS


@dataclass(slots=True)
class _Writer:
    """Bytes of messages, and the offsets of their stream ids."""

    parts: list[bytes | memoryview]
    heads: list[int]
    size: int = 0

    def message(self, chunk_stream: int, kind: int, ms: int, prefix: bytes, data: bytes) -> None:
        """Write a message of `prefix` and `data`."""
        length, stamp = len(prefix) + len(data), ms & 0xFFFFFFFF
        if length > _LONGEST:
            return
        if stamp < EXTENDED:
            header = _HEADER.pack(chunk_stream << 24 | stamp, length << 8 | kind, _STREAM_ID)
        else:
            header = _EXTENDED_HEADER.pack(chunk_stream << 24 | EXTENDED, length << 8 | kind, _STREAM_ID, stamp)
        self.heads.append(self.size + _STREAM_ID_AT)
        self.size += len(header) + length
        if length <= CHUNK_SIZE:
            self.parts += (header, prefix, data)
            return
        # 5.3.1.3: where the header has an extended timestamp, each further chunk repeats it.
        joint = bytes((0xC0 | chunk_stream,)) if stamp < EXTENDED else struct.pack(">BI", 0xC0 | chunk_stream, stamp)
        if len(prefix) > CHUNK_SIZE:  # parameter sets that large occur only in a broken stream
            prefix, data = b"", prefix + data
        first = CHUNK_SIZE - len(prefix)
        self.parts += (header, prefix, data[:first])
        for at in range(first, len(data), CHUNK_SIZE):
            self.parts += (joint, memoryview(data)[at : at + CHUNK_SIZE])
            self.size += len(joint)

    def block(self, units: int, at: int) -> Block:
        """Return all that was written."""
        return Block(b"".join(self.parts), units, at, heads=tuple(self.heads))


class RtmpPacker:
    """Packs for all RTMP targets of a restream."""

    def __init__(self) -> None:
        self._framers: dict[str, tags.Framer] = {}
        self._metadata = b""
        self._shown = False  # pictures are sent with their presentation time
        self._newest = 0

    def unfit(self, track: Track) -> str:
        """Return why RTMP cannot carry a track; empty: it can."""
        return tags.unfit(track)

    def head(self, tracks: Tracks, at: int) -> Block:
        """Write metadata and sequence headers."""
        return self._headers(tracks, ("video", "audio"), at, tags.metadata_body(tracks))

    def configure(self, tracks: Tracks, fresh: Collection[str], at: int) -> Block:
        """Use these tracks from now on; write metadata, and sequence headers of what is fresh.

        A join's sound comes after its picture: metadata is repeated only where it has changed.
        """
        for track in (tracks.video, tracks.audio):
            if track is not None:
                self._framers[track.kind] = tags.framer(track)
        self._shown = tracks.video is not None and tracks.video.codec not in tags.REORDERED
        before, self._metadata = self._metadata, tags.metadata_body(tracks)
        told = "video" not in fresh and before == self._metadata
        at = max(at, self._newest) if self._shown else at
        return self._headers(tracks, fresh, at, b"" if told else self._metadata)

    def _headers(self, tracks: Tracks, kinds: Collection[str], at: int, metadata: bytes) -> Block:
        writer, ms = _Writer([], []), to_ms(at)
        if metadata:
            writer.message(_AUDIO_CHUNKS, DATA_AMF0, ms, metadata, b"")
        for track, chunk_stream, kind in (
            (tracks.video, _VIDEO_CHUNKS, VIDEO),
            (tracks.audio, _AUDIO_CHUNKS, AUDIO),
        ):
            if track is not None and track.kind in kinds and (body := tags.config_body(track)):
                writer.message(chunk_stream, kind, ms, body, b"")
        return writer.block(0, at)

    def pack(self, units: Sequence[Unit]) -> Block:
        """Write units."""
        writer, framers = _Writer([], []), self._framers
        for unit in units:
            if unit.kind == "audio":
                ms = to_ms(unit.dts)
                writer.message(_AUDIO_CHUNKS, AUDIO, ms, *framers["audio"](unit, to_ms(unit.pts) - ms))
                continue
            shown = to_ms(unit.pts)
            ms = to_ms(unit.dts)
            if self._shown:
                ms, self._newest = shown, max(self._newest, unit.pts)
            writer.message(_VIDEO_CHUNKS, VIDEO, ms, *framers["video"](unit, shown - ms))
        return writer.block(len(units), units[0].dts)


def patched(block: Block, stream_id: int) -> Block:
    """Return a block for a target whose message stream has another number."""
    data, number = bytearray(block.data), stream_id.to_bytes(4, "little")
    for at in block.heads:
        data[at : at + 4] = number
    return Block(bytes(data), block.units, block.at, heads=block.heads)
