"""The wanted format of encoded pictures and sound."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

VIDEO_ENCODERS = {"h264": "libx264", "hevc": "libx265", "vp8": "libvpx", "vp9": "libvpx-vp9"}
AUDIO_ENCODERS = {"aac": "aac", "mp3": "libmp3lame", "opus": "libopus"}


@dataclass(frozen=True, slots=True)
class Shape:
    """Codecs, size and rates of an encoded stream; `bitrate` (bit/s) only if requested. `aspect` is the pixels'."""

    video: str
    width: int
    height: int
    pixels: str
    rate: Fraction
    audio: str = "aac"
    sample_rate: int = 48_000
    channels: int = 2
    bitrate: int | None = None
    aspect: Fraction = Fraction(1)

    @property
    def shown(self) -> Fraction:
        """Return the picture's aspect as shown, width over height."""
        return Fraction(self.width, self.height) * self.aspect


def plain_pixels(name: str) -> str:
    """Return a pixel format's name without its range, which the stream itself signals."""
    return name.replace("yuvj", "yuv")


def alike(one: Fraction, other: Fraction) -> bool:
    """Return whether two aspects differ invisibly: scaling leaves aspects such as 1281:1280."""
    return abs(one / other - 1) < Fraction(1, 100)
