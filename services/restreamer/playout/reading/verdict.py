"""Decides how a file is played: copied or encoded, to what, and why (ADR 14)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

from services.restreamer.model import FLICKS, How, Track
from shared.media.transcode.shape import AUDIO_ENCODERS, VIDEO_ENCODERS, Shape, alike, plain_pixels
from shared.media.transcode.turns import TURNS
from shared.messages.restreams import Encoding

LEAD = FLICKS * 160 // 1000
"""Distance of the output's first decode time to its first presentation time, and so of every join's."""

_CODECS = {name: codec for codec, name in (*VIDEO_ENCODERS.items(), *AUDIO_ENCODERS.items())}
# The codecs that each format carries: FLV with the FourCCs of enhanced RTMP, and MPEG-TS.
_TAKES: dict[str, frozenset[str]] = {
    "rtmp": frozenset(("h264", "hevc", "vp8", "vp9", "av1", "aac", "mp3", "opus")),
    "srt": frozenset(("h264", "hevc", "aac", "mp3", "opus")),
}
USUAL_RATE = Fraction(25)
FASTEST = 120
STILL_SIZE = (1280, 720)
"""Picture size of an output whose first file has no pictures."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a file is played in an output of `shape`."""

    shape: Shape
    video: Literal["copy", "encode"]
    audio: Literal["copy", "encode", "none"]
    how: How
    reason: str = ""

    def told(self, more: str) -> Verdict:
        """Return the verdict with one more reason."""
        return replace(self, reason="; ".join(text for text in (self.reason, more) if text)) if more else self


@dataclass(frozen=True, slots=True)
class Found:
    """What decides about a file: tracks, frame rate, and whether pictures are reordered over more than LEAD (`deep`).

    `still`: the pictures are a still of ours, as the file has sound alone.
    """

    video: Track
    audio: Track | None
    rate: Fraction = USUAL_RATE
    deep: bool = False
    still: bool = False


def formats_of(urls: Iterable[str]) -> frozenset[str]:
    """Return the codecs that all of the targets' formats take."""
    kinds = {"srt" if url.startswith("srt:") else "rtmp" for url in urls} or {"rtmp"}
    return frozenset.intersection(*(_TAKES[kind] for kind in kinds))


def decide(
    found: Found, stream: Shape | None, takes: frozenset[str], encoding: Encoding | None = None, *, marked: bool = False
) -> Verdict:
    """Decide how a file joins an output of shape `stream`, which is None for the first. `marked`: with watermark."""
    if stream is None or not _usable(stream, takes):
        stream = _asked(_own_shape(found, takes, marked=marked), takes, encoding)
    video = _why_video(found, stream, takes, encoding, marked=marked)
    audio = _why_audio(found.audio, stream, takes, encoding)
    reasons = list(dict.fromkeys(text for _, text in (video, audio) if text))
    kinds = {kind for kind, _ in (video, audio)}
    how: How = "transcoded" if "transcoded" in kinds else "conformed" if "conformed" in kinds else "copied"
    sound: Literal["copy", "encode", "none"] = "copy" if audio[0] == "copied" else "encode"
    if found.audio is None:
        sound = "none"
    return Verdict(stream, "copy" if video[0] == "copied" else "encode", sound, how, "; ".join(reasons))


def encoded_whole(verdict: Verdict, reason: str) -> Verdict:
    """Return the verdict for a file whose pictures cannot be copied after all."""
    how: How = "transcoded" if verdict.how == "transcoded" else "conformed"
    reasons = [text for text in (verdict.reason, reason) if text]
    return replace(verdict, video="encode", how=how, reason="; ".join(reasons))


def _usable(stream: Shape, takes: frozenset[str]) -> bool:
    """Return whether targets still take the stream, and other files can be encoded to match it."""
    return stream.video in takes and stream.audio in takes and stream.video in VIDEO_ENCODERS


def _own_shape(found: Found, takes: frozenset[str], *, marked: bool) -> Shape:
    video, audio = found.video, found.audio
    fps = min(found.rate, Fraction(FASTEST))
    if video.codec in takes and not marked and not _as_told(video):
        pixels = plain_pixels(video.pixels) or "yuv420p"
        shape = Shape(video.codec, video.width, video.height, pixels, fps, aspect=video.aspect)
    else:
        size = STILL_SIZE if found.still else _squared(*video.upright)
        shape = Shape("h264", *size, "yuv420p", fps)
    if audio is None or not audio.sample_rate or not audio.channels:
        return shape
    if audio.codec in takes:
        return replace(shape, audio=audio.codec, sample_rate=audio.sample_rate, channels=audio.channels)
    rate = audio.sample_rate if audio.sample_rate in (44_100, 48_000) else 48_000
    return replace(shape, sample_rate=rate, channels=min(audio.channels, 2))


def _asked(shape: Shape, takes: frozenset[str], encoding: Encoding | None) -> Shape:
    """Return the shape with what an encoding asks for, as far as the targets take it."""
    if encoding is None:
        return shape
    video, audio = _CODECS[encoding.video], _CODECS[encoding.audio]
    video, audio = video if video in takes else "h264", audio if audio in takes else "aac"
    rate = shape.sample_rate
    if audio == "opus" or (audio == "mp3" and rate not in (32_000, 44_100, 48_000)):
        rate = 48_000
    width, height = _size(*_squared(shape.width, shape.height, shape.aspect), encoding)
    return Shape(
        video, width, height, "yuv420p",
        Fraction(encoding.rate_num, encoding.rate_den) if encoding.rate_num else min(shape.rate, Fraction(60)),
        audio, rate, min(shape.channels, 2), encoding.kbps * 1000 if encoding.kbps else None,
    )  # fmt: skip


def _size(own_width: int, own_height: int, encoding: Encoding) -> tuple[int, int]:
    """Return the size asked for; a side that is not asked for keeps the first file's aspect."""
    width, height = encoding.width, encoding.height
    if width is None and height is None:
        return own_width, own_height
    if width is None:
        width = round(Fraction(own_width, own_height) * (height or 2))
    if height is None:
        height = round(Fraction(own_height, own_width) * width)
    return _even(width), _even(height)


def _squared(width: int, height: int, aspect: Fraction) -> tuple[int, int]:
    """Return the size in square pixels, even on both sides; neither side shrinks."""
    if alike(aspect, Fraction(1)):
        return _even(width), _even(height)
    if aspect > 1:
        return _even(round(width * aspect)), _even(height)
    return _even(width), _even(round(height / aspect))


def _even(length: int) -> int:
    return max(length - length % 2, 2)


Why = tuple[How, str]


def _why_video(found: Found, stream: Shape, takes: frozenset[str], encoding: Encoding | None, *, marked: bool) -> Why:
    track = found.video
    if encoding is not None or marked:
        return "transcoded", "an encoding is asked for" if encoding is not None else "a watermark is asked for"
    if found.still:
        return "conformed", "it has no pictures: a still goes with its sound"
    if track.codec not in takes:
        return "transcoded", f"targets do not take {track.codec}"
    return _unlike(found, track, stream)


def _as_told(track: Track) -> str:
    """Return what only a file's container says of its pictures: copying loses it."""
    if track.turn:
        return TURNS[track.turn].text
    return "" if alike(track.aspect, track.own_aspect) else "only its container tells its pixels' aspect"


def _unlike(found: Found, track: Track, stream: Shape) -> Why:
    if told := _as_told(track):
        return "conformed", told
    if found.deep:
        return "conformed", "its pictures are reordered over more than 160 ms"
    own = (track.codec, track.width, track.height, plain_pixels(track.pixels) or stream.pixels)
    if track.codec != stream.video:
        return "conformed", f"{track.codec} in a stream of {stream.video}"
    if own[1:3] != (stream.width, stream.height):
        return "conformed", f"{track.width}x{track.height} in a stream of {stream.width}x{stream.height}"
    if not alike(track.aspect, stream.aspect):
        own_aspect, other = (f"{a.numerator}:{a.denominator}" for a in (track.aspect, stream.aspect))
        return "conformed", f"pixels of {own_aspect} in a stream of {other}"
    return ("conformed", f"{own[3]} in a stream of {stream.pixels}") if own[3] != stream.pixels else ("copied", "")


def _why_audio(track: Track | None, stream: Shape, takes: frozenset[str], encoding: Encoding | None) -> Why:
    if track is None:
        return ("copied", "") if encoding is None else ("transcoded", "an encoding is asked for")
    if encoding is not None:
        return "transcoded", "an encoding is asked for"
    if track.codec not in takes:
        return "transcoded", f"targets do not take {track.codec}"
    if track.codec != stream.audio:
        return "conformed", f"{track.codec} in a stream of {stream.audio}"
    if (track.sample_rate, track.channels) != (stream.sample_rate, stream.channels):
        own, other = (f"{rate} Hz x {count}" for rate, count in (
            (track.sample_rate, track.channels), (stream.sample_rate, stream.channels)))  # fmt: skip
        return "conformed", f"sound of {own} in a stream of {other}"
    return "copied", ""
