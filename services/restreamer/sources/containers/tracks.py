"""Describe tracks: from their configuration if possible, otherwise from what FFmpeg found."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Final

from av.audio.stream import AudioStream
from av.video.stream import VideoStream

from services.restreamer.model import FLICKS, SourceError, Track
from services.restreamer.sources.containers.payloads import with_nals
from shared.media.bitstream.errors import BitstreamError
from shared.media.bitstream.hevc_sets import parse_hevc_sps
from shared.media.bitstream.params import ASPECTS, H264_SPS, HEVC_SPS, nal_type, read_sps, record_sets
from shared.media.bitstream.picture_form import PictureForm
from shared.media.bitstream.vp9 import build_vpcc, level_of
from shared.media.mp4.aac import read_aac
from shared.media.mp4.boxes import Mp4Error
from shared.media.seams.grid import RATES
from shared.media.transcode.turns import Turn

FASTEST: Final = 240
_NEAR: Final = Fraction(1, 4000)
_LEAST_ASPECT: Final = Fraction(1, 20)
_EXTENDED_ASPECT: Final = 255
_SQUARE: Final = frozenset(("vp8", "vp9", "av1"))
_CHROMA: Final = {0: "gray", 1: "yuv420p", 2: "yuv422p", 3: "yuv444p"}


def video_track(
    codec: str, config: bytes, rate: Fraction | None, stream: VideoStream | None = None, turn: Turn = ""
) -> Track:
    """Return a video track. Raise SourceError when it has no size."""
    named = with_nals(codec)
    shown = _aspect(stream.sample_aspect_ratio) if stream is not None else None
    if config and named is not None:
        kind = H264_SPS if named == "h264" else HEVC_SPS
        try:
            sps = next(nal for nal in record_sets(named, config) if nal_type(named, nal) == kind)
            picture = read_sps(named, sps)
        except (Mp4Error, StopIteration) as error:
            raise SourceError("the video's configuration is broken") from error
        own = Fraction(*picture.aspect) if named == "h264" else _hevc_aspect(sps)
        deep = f"{picture.depth_luma}le" if picture.depth_luma > 8 else ""
        pixels = _CHROMA[picture.chroma & 3] + deep
        track = Track("video", codec, config, picture.width, picture.height, pixels, rate)
        return replace(track, aspect=shown or own, own_aspect=own, turn=turn)
    if stream is None or not stream.codec_context.width or not stream.codec_context.height:
        raise SourceError("the video has no size")
    context = stream.codec_context
    pixels = (context.pix_fmt or "yuv420p").replace("yuvj", "yuv")
    if codec == "vp9" and not config:
        config = _vpcc(context.width, context.height, rate or Fraction(30), pixels, context.profile or "")
    # Players ignore the pixel aspect that VP8, VP9 and AV1 can store.
    own = Fraction(1) if codec in _SQUARE else _aspect(context.sample_aspect_ratio) or Fraction(1)
    track = Track("video", codec, config, context.width, context.height, pixels, rate, tag=_tag(context.codec_tag))
    bits = int(context.bits_per_coded_sample or 0)
    return replace(track, aspect=shown or own, own_aspect=own, turn=turn, bits=bits)


def told_colours(stream: VideoStream) -> tuple[int, int, int, int]:
    """Return the colours that a container stores."""
    context = stream.codec_context
    return int(context.color_range), int(context.colorspace), int(context.color_primaries), int(context.color_trc)


def _aspect(told: Fraction | None) -> Fraction | None:
    return Fraction(told) if told and _LEAST_ASPECT <= told <= 1 / _LEAST_ASPECT else None


def _hevc_aspect(sps: bytes) -> Fraction:
    """Return the pixel aspect in an HEVC SPS (E.2.1); square when it has none."""
    try:
        look, count = parse_hevc_sps(sps).look
    except (BitstreamError, Mp4Error, IndexError):
        return Fraction(1)
    bits = f"{look:0{count}b}"
    if bits[0] != "1":
        return Fraction(1)
    index = int(bits[1:9], 2)
    if index == _EXTENDED_ASPECT:
        wide, high = int(bits[9:25], 2), int(bits[25:41], 2)
    else:
        wide, high = ASPECTS[index] if index < len(ASPECTS) else (1, 1)
    return Fraction(wide, high) if wide and high else Fraction(1)


def _tag(text: str) -> str:
    """Return a codec's tag if it has four printable characters, else ""."""
    return text if len(text) == 4 and text.isprintable() else ""


def audio_track(codec: str, config: bytes, stream: AudioStream | None = None) -> Track:
    """Return an audio track. Raise SourceError when its configuration is broken."""
    if codec == "aac" and config:
        try:
            meaning = read_aac(config)
        except Mp4Error as error:
            raise SourceError("the sound's configuration is broken") from error
        if meaning.channels:
            return Track("audio", codec, config, sample_rate=meaning.rate, channels=meaning.channels)
    if stream is None:
        return Track("audio", codec, config, sample_rate=48000 if codec == "opus" else 0, channels=2)
    context = stream.codec_context
    rate = 48000 if codec == "opus" else context.sample_rate
    track = Track("audio", codec, config, sample_rate=rate, channels=context.layout.nb_channels)
    return replace(track, tag=_tag(context.codec_tag), layout=context.layout.name)


def frame_duration(track: Track) -> int | None:
    """Return an audio frame's exact duration in flicks, if its codec fixes one."""
    if track.codec == "aac" and track.config:
        meaning = read_aac(track.config)
        return FLICKS * meaning.frame // meaning.rate
    if track.codec == "mp3" and track.sample_rate:
        return FLICKS * (1152 if track.sample_rate >= 32000 else 576) // track.sample_rate
    return None


def rate_of(stream: VideoStream) -> Fraction | None:
    """Return a stream's frames per second, rounded to a common rate if it is near one."""
    for found in (stream.average_rate, stream.guessed_rate):
        if found is not None and 0 < found <= FASTEST:
            rate = Fraction(found)
            return min((r for r in RATES if abs(r / rate - 1) < _NEAR), key=lambda r: abs(r - rate), default=rate)
    return None


def _vpcc(width: int, height: int, rate: Fraction, pixels: str, profile: str) -> bytes:
    number = int(profile[-1]) if profile[-1:].isdecimal() else 0
    depth = 12 if "12" in pixels else 10 if "10" in pixels else 8
    chroma = 3 if "444" in pixels else 2 if "422" in pixels else 1
    level = level_of(width, height, rate)
    return build_vpcc(PictureForm(width, height, number, level, depth=depth, chroma=chroma))
