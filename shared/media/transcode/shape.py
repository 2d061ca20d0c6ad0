"""What encoded pictures and sound are to be like."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

VIDEO_ENCODERS = {"h264": "libx264", "hevc": "libx265", "vp8": "libvpx", "vp9": "libvpx-vp9"}
AUDIO_ENCODERS = {"aac": "aac", "mp3": "libmp3lame", "opus": "libopus"}


@dataclass(frozen=True, slots=True)
class Shape:
    """Codecs, size and rates of an encoded stream; bit/s only where they are asked for. `aspect` is the pixels'."""

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
        """Tell the picture's width as it is shown, over its height."""
        return Fraction(self.width, self.height) * self.aspect


def plain_pixels(name: str) -> str:
    """Name a pixel format without its range, which the stream itself tells."""
    return name.replace("yuvj", "yuv")


def alike(one: Fraction, other: Fraction) -> bool:
    """Tell whether nobody sees the difference of two aspects: scaling leaves such as 1281:1280."""
    return abs(one / other - 1) < Fraction(1, 100)
