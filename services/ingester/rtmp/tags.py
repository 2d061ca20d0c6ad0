"""What an audio or video message holds: FLV tag headers, classic and enhanced.

Formats: Adobe, "Video File Format 10.1", E.4; Veovera, "Enhanced RTMP v2" (ExVideoTagHeader, ExAudioTagHeader).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from shared.rtmp.chunks import VIDEO, Payload

Role = Literal["config", "extra", "frame"]

NEEDS_CONFIG = frozenset({"avc1", "hvc1", "av01", "mp4a", "Opus", "fLaC"})
"""Codecs whose frames cannot be decoded without a sequence header before them."""

_LEGACY_VIDEO = {2: "flv1", 3: "screen", 4: "vp6f", 5: "vp6a", 6: "screen2", 7: "avc1", 12: "hvc1"}
_LEGACY_AUDIO = {2: ".mp3", 10: "mp4a", 11: "speex", 14: ".mp3"}
_AVC, _LEGACY_HEVC, _AAC, _EX_AUDIO = 7, 12, 10, 9
_COMMAND_FRAME = 5
_SEQUENCE_START, _CODED_FRAMES, _SEQUENCE_END, _CODED_FRAMES_X, _EXTRA, _MOD_EX = 0, 1, 2, 3, 4, 7
_WITH_OFFSET = frozenset({"avc1", "hvc1"})
"""Video codecs whose CodedFrames begin with a composition time offset of 3 bytes."""


class Media(NamedTuple):
    """One audio or video message, as it goes into an FLV tag: `prefix`, then `body`.

    "config" is a sequence header, "extra" says more about the stream (channel layout, HDR), "frame" is media.
    """

    role: Role
    codec: str
    prefix: bytes
    body: Payload


def read_media(kind: int, payload: Payload) -> Media | None:
    """Tell what a message of `kind` AUDIO or VIDEO holds.

    None for what no recorder needs: empty messages, ends of sequences, seek marks, further tracks (multitrack),
    and what is cut short. HEVC in the unofficial codec id 12 becomes hvc1; ModEx wrappers (nanoseconds) are taken off.
    """
    if len(payload) < 2:
        return None
    first = payload[0]
    if kind == VIDEO:
        if first & 0x80:
            return _enhanced(first & 0xF0, first & 0x0F, payload, video=True)
        return _legacy_video(first, payload)
    if first >> 4 == _EX_AUDIO:
        return _enhanced(first & 0xF0, first & 0x0F, payload, video=False)
    return _legacy_audio(first, payload)


def _legacy_video(first: int, payload: Payload) -> Media | None:
    codec_id = first & 0x0F
    if first >> 4 == _COMMAND_FRAME:
        return None
    codec = _LEGACY_VIDEO.get(codec_id, f"video-{codec_id}")
    if codec_id not in (_AVC, _LEGACY_HEVC):
        return Media("frame", codec, b"", payload)
    packet = payload[1]
    if len(payload) <= 5 or packet > 1:
        return None
    role: Role = "frame" if packet else "config"
    if codec_id == _AVC:
        return Media(role, codec, b"", payload)
    # Configuration comes without the composition time in the enhanced form, frames keep it.
    prefix = bytes((0x80 | first & 0x70 | packet,)) + b"hvc1"
    return Media(role, codec, prefix, payload[2 if packet else 5 :])


def _legacy_audio(first: int, payload: Payload) -> Media | None:
    codec_id = first >> 4
    codec = _LEGACY_AUDIO.get(codec_id, f"audio-{codec_id}")
    if codec_id != _AAC:
        return Media("frame", codec, b"", payload)
    if len(payload) < 3 or payload[1] > 1:
        return None
    return Media("frame" if payload[1] else "config", codec, b"", payload)


def _enhanced(flags: int, packet: int, payload: Payload, *, video: bool) -> Media | None:
    prefix = b""
    if packet == _MOD_EX:
        packet, at = _skip_mod_ex(payload)
        payload = payload[at:]
        prefix = bytes((flags | packet,))
    begin = 1 - len(prefix)  # of the FOURCC
    size = len(payload) - begin - 4
    if size < 0 or (video and flags >> 4 & 7 == _COMMAND_FRAME and packet != _EXTRA):
        return None
    codec = bytes(payload[begin : begin + 4]).decode("latin-1")
    if packet == _SEQUENCE_START:
        return Media("config", codec, prefix, payload)
    if packet == _EXTRA:
        return Media("extra", codec, prefix, payload)
    if packet != _CODED_FRAMES and not (video and packet == _CODED_FRAMES_X):
        return None
    offset = 3 if video and packet == _CODED_FRAMES and codec in _WITH_OFFSET else 0
    return Media("frame", codec, prefix, payload) if size > offset else None


def _skip_mod_ex(payload: Payload) -> tuple[int, int]:
    """Return the packet type behind all ModEx wrappers and where what follows it begins."""
    packet, at = _MOD_EX, 1
    while packet == _MOD_EX:
        if at + 1 > len(payload):
            return _SEQUENCE_END, len(payload)
        size = payload[at] + 1
        at += 1
        if size == 256:
            size = int.from_bytes(payload[at : at + 2], "big") + 1
            at += 2
        at += size
        if at >= len(payload):
            return _SEQUENCE_END, len(payload)
        packet = payload[at] & 0x0F
        at += 1
    return packet, at
