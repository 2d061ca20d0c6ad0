"""A track as bytes, between this process and a child; tracks from a child are checked."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from typing import Final

from services.restreamer.model import Track
from services.restreamer.sources.apart.nonsense import Nonsense
from shared.media.mp4.aac import read_aac
from shared.media.mp4.boxes import Mp4Error
from shared.media.transcode.turns import TURNS, Turn

LONGEST_CONFIG: Final = 1 << 18
LONGEST_NAME: Final = 1000  # a layout can name every speaker
LARGEST_SIDE: Final = 1 << 16
FASTEST_SAMPLES: Final = 1 << 22
_FIXED_RATES: Final = {"aac": 96_000, "mp3": 48_000, "opus": 48_000}
"""The highest sample rates of codecs whose packets are passed through, between packets of silence."""
_TRACK: Final = struct.Struct("<BIIqqIIIIII4iiHI")
_TEXTS: Final = ("codec", "pixels", "turn", "tag", "layout")


def pack_track(track: Track) -> bytes:
    """Return a track as bytes; raise Nonsense when it cannot be sent."""
    texts = "\0".join(str(getattr(track, name)) for name in _TEXTS).encode()
    rate = track.rate or Fraction(0)
    try:
        head = _TRACK.pack(
            track.kind == "video", track.width, track.height, rate.numerator, rate.denominator,
            track.sample_rate, track.channels,
            track.aspect.numerator, track.aspect.denominator, track.own_aspect.numerator, track.own_aspect.denominator,
            *track.colours, track.bits, len(texts), len(track.config),
        )  # fmt: skip
    except struct.error:
        raise Nonsense("what it says of a track makes no sense") from None
    if len(track.config) > LONGEST_CONFIG:
        raise Nonsense("a track's configuration is too large")
    return head + texts + track.config


def unpack_track(data: bytes, at: int) -> tuple[Track, int]:
    """Return the track at offset `at`, and its end. Raise Nonsense, ValueError or struct.error."""
    is_video, width, height, over, under, rate, channels, *more = _TRACK.unpack_from(data, at)
    shown, own, colours = more[0:2], more[2:4], more[4:8]
    bits, texts_size, config_size = more[8:]
    begin = at + _TRACK.size
    end = begin + texts_size + config_size
    if end > len(data) or config_size > LONGEST_CONFIG or not (under > 0 and over >= 0 and shown[1] and own[1]):
        raise Nonsense("a track cannot be read")
    texts = data[begin : begin + texts_size].decode().split("\0")
    if len(texts) != len(_TEXTS) or not all(_fits(text) for text in texts):
        raise Nonsense("a track's names cannot be")
    codec, pixels, turn, tag, layout = texts
    if not codec or max(width, height) > LARGEST_SIDE or min(colours) < 0:
        raise Nonsense("a track's size cannot be")
    track = Track(
        "video" if is_video else "audio", codec, data[begin + texts_size : end], width, height, pixels,
        Fraction(over, under) if over else None, rate, channels,
        _ratio(shown), _ratio(own), _turn(turn), (colours[0], colours[1], colours[2], colours[3]), tag, bits, layout,
    )  # fmt: skip
    if not _is_heard(track):
        raise Nonsense("a track's sound cannot be")
    return track, end


def _is_heard(track: Track) -> bool:
    """Return whether a track's sample rate is possible for its codec; silence is made at this rate."""
    if track.codec == "aac" and track.config:
        try:
            return read_aac(track.config).rate == track.sample_rate
        except Mp4Error:
            return False
    return track.sample_rate <= _FIXED_RATES.get(track.codec, FASTEST_SAMPLES)


def _fits(text: str) -> bool:
    return len(text) <= LONGEST_NAME and text.isprintable()


def _ratio(pair: Sequence[int]) -> Fraction:
    if not pair[0]:
        raise Nonsense("an aspect is nothing")
    return Fraction(pair[0], pair[1])


def _turn(text: str) -> Turn:
    if text == "":
        return ""
    for turn in TURNS:
        if turn == text:
            return turn
    raise Nonsense("there is no such turn")
