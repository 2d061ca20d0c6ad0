"""Writes the bodies of audio, video and data messages.

Classic tags (Adobe, "Video File Format 10.1", E.4) for AVC, AAC and MP3, enhanced ones (Veovera, "Enhanced RTMP v2",
ExVideoTagHeader, ExAudioTagHeader) for all else.
"""

from __future__ import annotations

from collections.abc import Callable

from services.restreamer.model import Track, Unit
from services.restreamer.targets.sets import lead_of
from services.restreamer.targets.terms import Tracks
from shared.rtmp import flv
from shared.rtmp.amf import EcmaArray, encode

FOURCCS = {
    "h264": "avc1", "hevc": "hvc1", "av1": "av01", "vp9": "vp09", "vp8": "vp08",
    "aac": "mp4a", "mp3": ".mp3", "opus": "Opus",
}  # fmt: skip
REORDERED = frozenset(("h264", "hevc"))
"""Codecs whose messages tell, beside their time, how much later a picture is shown; of others their time is that."""
CLASSIC = {"h264": flv.AVC, "aac": flv.AAC, "mp3": flv.MP3}
# VPCodecConfigurationRecord for what says nothing of itself: profile and level 0, 8 bit 4:2:0, colours unspecified.
_PLAIN_VP = bytes((0, 0, 0x82, 2, 2, 2, 0, 0))
_FULL_BOX = b"\x01\0\0\0"

Framer = Callable[[Unit, int], tuple[bytes, bytes]]
"""From a unit and its composition time offset in ms: the bytes before its data, and the data."""


def unfit(track: Track) -> str:
    """Return why RTMP cannot carry a track; empty: it can."""
    if track.codec not in FOURCCS:
        return f"RTMP does not carry {track.codec}"
    if not track.config and track.codec in ("h264", "hevc", "av1", "aac", "opus"):
        return f"the {track.codec} track comes without its configuration"
    return ""


def config_body(track: Track) -> bytes:
    """Write a sequence header; nothing for a codec that has none."""
    if track.codec == "h264":
        return b"\x17\0\0\0\0" + track.config
    if track.codec == "aac":
        return b"\xaf\0" + track.config
    if track.codec == "mp3":
        return b""
    fourcc = FOURCCS[track.codec].encode()
    if track.kind == "audio":
        return bytes((flv.EX_AUDIO << 4 | flv.SEQUENCE_START,)) + fourcc + track.config
    return bytes((flv.EX_HEADER | flv.KEY_FRAME << 4 | flv.SEQUENCE_START,)) + fourcc + _video_config(track)


def _video_config(track: Track) -> bytes:
    if track.codec not in ("vp8", "vp9"):
        return track.config
    # In a file the record is a full box: version and flags precede it and are not part of the record.
    return track.config.removeprefix(_FULL_BOX) or _PLAIN_VP


def framer(track: Track) -> Framer:
    """Return the function that frames a unit.

    Keyframes include the parameter sets: many receivers, among them FFmpeg when copying, ignore every sequence header
    after the first.
    """
    if track.kind == "audio":
        fixed = _audio_prefix(track)
        return lambda unit, _offset: (fixed, unit.data)
    prefix, lead = _video_prefix(track), lead_of(track)

    def frame(unit: Unit, offset: int) -> tuple[bytes, bytes]:
        before = prefix(unit, offset)
        if lead is None or not unit.key:
            return before, unit.data
        sets, replaced = lead(unit.data)
        return before + sets, unit.data[replaced:]

    return frame


def _video_prefix(track: Track) -> Callable[[Unit, int], bytes]:
    fourcc = FOURCCS[track.codec].encode()
    if track.codec == "h264":
        return lambda unit, offset: (b"\x17\x01" if unit.key else b"\x27\x01") + _signed24(offset)
    with_offset = track.codec == "hevc"

    def enhanced(unit: Unit, offset: int) -> bytes:
        kind = flv.EX_HEADER | (flv.KEY_FRAME if unit.key else flv.INTER_FRAME) << 4
        if with_offset and offset:
            return bytes((kind | flv.CODED_FRAMES,)) + fourcc + _signed24(offset)
        return bytes((kind | (flv.CODED_FRAMES_X if with_offset else flv.CODED_FRAMES),)) + fourcc

    return enhanced


def _audio_prefix(track: Track) -> bytes:
    if track.codec == "aac":
        return b"\xaf\x01"
    if track.codec == "mp3":
        return bytes((CLASSIC["mp3"] << 4 | _rate_code(track.sample_rate) << 2 | 2 | (track.channels > 1),))
    return bytes((flv.EX_AUDIO << 4 | flv.CODED_FRAMES,)) + FOURCCS[track.codec].encode()


def _rate_code(rate: int) -> int:
    """Return the code of the nearest of 5.5, 11, 22 and 44.1 kHz; decoders read the true rate from the frames."""
    return 3 if rate >= 32000 else 2 if rate >= 16000 else 1


def _signed24(value: int) -> bytes:
    return (value & 0xFFFFFF).to_bytes(3, "big")


def metadata_body(tracks: Tracks) -> bytes:
    """Write @setDataFrame with onMetaData."""
    values = EcmaArray(duration=0.0, encoder="Reelay")
    video, audio = tracks.video, tracks.audio
    if video is not None:
        values.update(width=float(video.width), height=float(video.height), videocodecid=_codec_id(video.codec))
        if video.rate:
            values["framerate"] = float(video.rate)
    if audio is not None:
        values.update(
            audiocodecid=_codec_id(audio.codec), audiosamplerate=float(audio.sample_rate), audiosamplesize=16.0,
            audiochannels=float(audio.channels), stereo=audio.channels == 2,
        )  # fmt: skip
    return encode("@setDataFrame", "onMetaData", values)


def _codec_id(codec: str) -> float:
    """Return the classic number, or the FOURCC read as one (Enhanced RTMP, metadata)."""
    return float(CLASSIC.get(codec) or int.from_bytes(FOURCCS[codec].encode(), "big"))
