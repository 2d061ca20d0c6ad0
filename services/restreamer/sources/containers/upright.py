"""How a file's pictures are rotated before they are shown.

FFmpeg reports it only with a decoded picture, which takes 35 ms of a core for 1080p: as much as playing six seconds of
the file. So nothing is decoded for H.264 in a local MP4 whose matrices do not rotate, and whose first picture has no
message about it; the colours that a decoder would report are read from the SPS.

Sources: ISO/IEC 14496-12 (4.2, 8.2.2, 8.3.2), ITU-T H.264 (7.3.2.3, D.1.29, E.2.1).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Final

import av
from av.packet import Packet as AvPacket
from av.video.stream import VideoStream

from services.restreamer.sources.containers.payloads import LENGTH
from services.restreamer.sources.origins.files import LocalFile, Readable
from shared.media.bitstream.bit_reader import BitReader, unescape
from shared.media.bitstream.errors import BitstreamError
from shared.media.bitstream.h264_sps import parse_h264_sps
from shared.media.bitstream.nal import H264_SEI, split_sample
from shared.media.bitstream.params import H264_SPS, nal_type, record_sets
from shared.media.mp4.boxes import Mp4Error, read_header
from shared.media.transcode.turns import Turn, told_by

_LOOK: Final = 128  # bytes of a box: enough for its header, or the whole of a box with a matrix
_MOST_BOXES, _MOST_BYTES = 1000, 1 << 62
_IDENTITY: Final = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
# Offsets of the matrix, and of the track id, in versions 0 and 1 of a box.
_MOVIE_MATRIX, _TRACK_MATRIX, _TRACK_ID = (36, 48), (40, 52), (12, 20)
_ORIENTATION, _MORE = 47, 0xFF
_EXTENDED_ASPECT: Final = 255
Colours = tuple[int, int, int, int]


def is_upright(file: Readable, track: int, picture: bytes) -> bool:
    """Return whether an MP4's H.264 track, whose first picture is `picture`, is certainly shown without rotation."""
    try:
        return isinstance(file, LocalFile) and not _is_oriented(picture) and _turns_nothing(file, track)
    except (BitstreamError, Mp4Error, IndexError):
        return False


def decoded_colours(config: bytes, told: Colours) -> Colours:
    """Return the colours that a decoder would report: the container's (`told`), or the SPS's (H.264, E.2.1)."""
    try:
        sps = next(nal for nal in record_sets("h264", config) if nal_type("h264", nal) == H264_SPS)
        look, count = parse_h264_sps(sps).look
    except (BitstreamError, Mp4Error, IndexError, StopIteration):
        return told
    bits = BitReader((look << -count % 8).to_bytes(-(-count // 8), "big"))
    if bits.flag() and bits.bits(8) == _EXTENDED_ASPECT:
        bits.bits(32)
    if bits.flag():
        bits.flag()  # overscan_appropriate_flag
    if not bits.flag():
        return told
    bits.bits(3)  # video_format
    full = 2 if bits.flag() else 1
    if not bits.flag():
        return full, *told[1:]
    primaries, transfer, matrix = bits.bits(8), bits.bits(8), bits.bits(8)
    return full, matrix, primaries, transfer


def _is_oriented(picture: bytes) -> bool:
    """Return whether a picture, with NAL lengths of 4 bytes, has a message about its rotation."""
    seis = (nal for nal in split_sample(picture, LENGTH) if nal_type("h264", nal) == H264_SEI)
    return any(_ORIENTATION in _messages(unescape(nal[1:])) for nal in seis)


def _messages(data: bytes) -> Iterator[int]:
    """Yield the types of an SEI NAL unit's messages (H.264 7.3.2.3.1)."""
    at = 0
    while at + 2 < len(data):
        numbers = []
        for _ in ("type", "size"):
            number = 0
            while data[at] == _MORE:
                number, at = number + _MORE, at + 1
            numbers.append(number + data[at])
            at += 1
        yield numbers[0]
        at += numbers[1]


def _turns_nothing(file: LocalFile, track: int) -> bool:
    """Return whether the matrices of the movie and of a track are the identity."""
    at, movie = 0, False
    for _ in range(_MOST_BOXES):
        buffer = bytearray(_LOOK)
        data = bytes(buffer[: file.read_at(at, memoryview(buffer))])
        found = read_header(data, 0, _MOST_BYTES)
        body = data[found.body :]
        if found.kind in (b"moov", b"trak"):
            at += found.body  # its child boxes come next
            continue
        if found.kind == b"mvhd":
            movie = _is_identity(body, _MOVIE_MATRIX)
        elif found.kind == b"tkhd" and body[_TRACK_ID[body[0] == 1] :][:4] == (track & 0xFFFFFFFF).to_bytes(4, "big"):
            return movie and _is_identity(body, _TRACK_MATRIX)
        at += found.end
    return False


def _is_identity(body: bytes, offsets: tuple[int, int]) -> bool:
    at = offsets[body[0] == 1]
    return body[at : at + len(_IDENTITY)] == _IDENTITY


def decoded_turn(stream: VideoStream, packet: AvPacket[Any]) -> Turn:
    """Return the rotation of a keyframe by decoding it."""
    context = stream.codec_context
    try:
        context.thread_count = 1
        frames = [*context.decode(packet), *context.decode(None)]
    except (av.FFmpegError, ValueError):
        return ""
    return told_by(frames[0]) if frames else ""
