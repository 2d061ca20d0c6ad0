"""Reading the header of audio and video messages, which is that of an FLV tag, classic or enhanced.

Formats: Adobe, "Video File Format 10.1", E.4; Veovera, "Enhanced RTMP v2" (ExVideoTagHeader, ExAudioTagHeader).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from shared.rtmp import flv
from shared.rtmp.chunks import AUDIO, VIDEO, Payload

Role = Literal["config", "extra", "frame"]

NEEDS_CONFIG = frozenset({"avc1", "hvc1", "av01", "mp4a", "Opus", "fLaC"})
"""Codecs whose frames cannot be decoded without a sequence header before them."""

_LEGACY_VIDEO = {2: "flv1", 3: "screen", 4: "vp6f", 5: "vp6a", 6: "screen2", 7: "avc1", 12: "hvc1"}
_LEGACY_AUDIO = {2: ".mp3", 10: "mp4a", 11: "speex", 14: ".mp3"}
_ROLES: dict[int, Role] = {flv.SEQUENCE_START: "config", flv.CODED_FRAMES: "frame", flv.METADATA: "extra"}
MAX_TRACKS = 16
MAX_CONFIG = 64 * 1024
_WITH_OFFSET = frozenset({"avc1", "hvc1"})
"""Video codecs whose CodedFrames start with a composition time offset of 3 bytes."""


class Media(NamedTuple):
    """One audio or video message: its role, its codec, and the codec's data.

    "config" is a sequence header, "extra" describes the stream further (channel layout, HDR), "frame" is media that is
    presented `offset` ms after its decoding time.
    """

    role: Role
    codec: str
    data: memoryview
    offset: int = 0


def read_media(kind: int, payload: Payload) -> Media | None:
    """Return the content of a message of `kind` AUDIO or VIDEO.

    None for what no recorder needs: empty and truncated messages, ends of sequences, seek marks; and for several tracks
    (read_multitrack). HEVC with the unofficial codec id 12 is hvc1; ModEx wrappers (nanoseconds) are skipped.
    """
    if len(payload) < 2:
        return None
    view = memoryview(payload)
    first = payload[0]
    if flv.is_enhanced(kind, first):
        return _enhanced(first, view, video=kind == VIDEO)
    return _legacy_video(first, view) if kind == VIDEO else _legacy_audio(first, view)


def _legacy_video(first: int, payload: memoryview) -> Media | None:
    codec_id = first & 0x0F
    if first >> 4 == flv.COMMAND_FRAME:
        return None
    codec = _LEGACY_VIDEO.get(codec_id, f"video-{codec_id}")
    if codec_id not in (flv.AVC, flv.HEVC):
        return Media("frame", codec, payload[1:])
    packet = payload[1]
    if len(payload) <= 5 or packet > 1:
        return None
    if not packet:
        return Media("config", codec, payload[5:])
    return Media("frame", codec, payload[5:], int.from_bytes(payload[2:5], "big", signed=True))


def _legacy_audio(first: int, payload: memoryview) -> Media | None:
    codec_id = first >> 4
    codec = _LEGACY_AUDIO.get(codec_id, f"audio-{codec_id}")
    if codec_id != flv.AAC:
        return Media("frame", codec, payload[1:])
    if len(payload) < 3 or payload[1] > 1:
        return None
    return Media("frame" if payload[1] else "config", codec, payload[2:])


def _enhanced(first: int, payload: memoryview, *, video: bool) -> Media | None:
    packet, begin = first & 0x0F, 1  # of the FOURCC
    if packet == flv.MOD_EX:
        packet, begin = _skip_mod_ex(payload)
    data = payload[begin + 4 :]
    if len(payload) < begin + 4 or (video and first >> 4 & 7 == flv.COMMAND_FRAME and packet != flv.METADATA):
        return None
    codec = str(payload[begin : begin + 4], "latin-1")
    if packet == flv.SEQUENCE_START:
        return Media("config", codec, data)
    if packet == flv.METADATA:
        return Media("extra", codec, data)
    if packet != flv.CODED_FRAMES and not (video and packet == flv.CODED_FRAMES_X):
        return None
    offset = 0
    if video and packet == flv.CODED_FRAMES and codec in _WITH_OFFSET:
        offset, data = int.from_bytes(data[:3], "big", signed=True), data[3:]
    return Media("frame", codec, data, offset) if data else None


def read_multitrack(payload: Payload) -> list[tuple[int, Media]]:
    """Return the tracks in an audio message that read_media returns None for, by their ids; empty for other messages.

    A message that is cut short gives the tracks that are whole.
    """
    view = memoryview(payload)
    if len(view) < 2 or not flv.is_enhanced(AUDIO, view[0]):
        return []
    packet, at = view[0] & 0x0F, 1
    if packet == flv.MOD_EX:
        packet, at = _skip_mod_ex(view)
    if packet != flv.MULTITRACK or at >= len(view):
        return []
    form, packet, codec, at = view[at] >> 4, view[at] & 0x0F, "", at + 1
    if form != flv.MANY_CODECS:
        codec, at = str(view[at : at + 4], "latin-1"), at + 4
    found: list[tuple[int, Media]] = []
    while at < len(view) and len(found) < MAX_TRACKS:
        if form == flv.MANY_CODECS:
            codec, at = str(view[at : at + 4], "latin-1"), at + 4
        head = view[at : at + 1 + (3 if form != flv.ONE_TRACK else 0)]
        at += len(head)
        size = int.from_bytes(head[1:], "big") if form != flv.ONE_TRACK else len(view) - at
        if not head or len(codec) < 4 or not size or at + size > len(view):
            break
        if packet in _ROLES:
            found.append((head[0], Media(_ROLES[packet], codec, view[at : at + size])))
        at += size
    return found


def _skip_mod_ex(payload: memoryview) -> tuple[int, int]:
    """Return the packet type after all ModEx wrappers, and the offset of what follows it."""
    packet, at = flv.MOD_EX, 1
    while packet == flv.MOD_EX:
        if at + 1 > len(payload):
            return flv.SEQUENCE_END, len(payload)
        size = payload[at] + 1
        at += 1
        if size == 256:
            size = int.from_bytes(payload[at : at + 2], "big") + 1
            at += 2
        at += size
        if at >= len(payload):
            return flv.SEQUENCE_END, len(payload)
        packet = payload[at] & 0x0F
        at += 1
    return packet, at
