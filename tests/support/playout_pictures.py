"""Files whose pictures are identified by their corners and shapes, and what a player shows of them."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from services.restreamer.model import Unit
from tests.support.framecode import ffmpeg

QUARTERS = ("red", "lime", "blue", "white")
_LETTERS = {(1, 0, 0): "R", (0, 1, 0): "G", (0, 0, 1): "B", (1, 1, 1): "W", (0, 0, 0): "-"}
_BY_HEIGHT = {True: 5, False: 1}  # what players take an unknown matrix for: BT.601 up to 576 lines, BT.709 above


@dataclass(frozen=True, eq=False)
class Shown:
    """A decoded frame, and the aspect of its pixels."""

    frame: av.VideoFrame
    aspect: Fraction

    @property
    def rgb(self) -> npt.NDArray[np.uint8]:
        """Return its pixels as a player shows them, with its range and matrix."""
        frame = self.frame
        matrix = int(frame.colorspace)
        matrix = _BY_HEIGHT[frame.height <= 576] if matrix == 2 else 5 if matrix == 6 else matrix
        full = frame.color_range == 2 or frame.format.name.startswith("yuvj")
        rgb = frame.reformat(format="rgb24", src_colorspace=matrix, src_color_range=2 if full else 1)
        return rgb.to_ndarray()

    @property
    def corners(self) -> str:
        """Return the colours of its quarters, row by row."""
        rgb = self.rgb
        high, wide = rgb.shape[:2]
        places = ((y, x) for y in (high // 4, 3 * high // 4) for x in (wide // 4, 3 * wide // 4))
        return "".join(_LETTERS.get(tuple(int(v > 128) for v in rgb[place]), "?") for place in places)

    @property
    def disc(self) -> tuple[Fraction, tuple[int, int, int, int]]:
        """Return the shown shape of what is bright, width over height, and the bars around it: left, right, ..."""
        grey = self.frame.to_ndarray(format="gray").astype(int)
        bright = np.argwhere(grey > 160)
        (top, left), (bottom, right) = bright.min(axis=0), bright.max(axis=0)
        lit = np.argwhere(grey > 50)
        (first, begin), (last, end) = lit.min(axis=0), lit.max(axis=0)
        bars = (int(begin), grey.shape[1] - 1 - int(end), int(first), grey.shape[0] - 1 - int(last))
        return Fraction(int(right - left + 1), int(bottom - top + 1)) * self.aspect, bars


def shown(units: Sequence[Unit]) -> list[Shown]:
    """Decode pictures like a player that makes a new decoder for each new configuration."""
    found: list[Shown] = []
    decoder: av.VideoCodecContext | None = None
    for unit in units:
        if unit.track is not None:
            if decoder is not None:
                found += _frames(decoder, None)
            context = av.CodecContext.create(unit.track.codec, "r")
            assert isinstance(context, av.VideoCodecContext)
            if unit.track.config:
                context.extradata = unit.track.config
            decoder = context
        assert decoder is not None
        found += _frames(decoder, av.Packet(unit.data))
    return [*found, *_frames(decoder, None)] if decoder is not None else []


def _frames(decoder: av.VideoCodecContext, packet: av.Packet | None) -> list[Shown]:
    return [Shown(frame, decoder.sample_aspect_ratio or Fraction(1)) for frame in decoder.decode(packet)]


def run(*arguments: object) -> None:
    subprocess.run([ffmpeg(), "-v", "error", "-nostdin", "-y", *map(str, arguments)], check=True, timeout=120)


def corners(path: Path, *options: str, size: tuple[int, int] = (320, 180)) -> Path:
    """Encode a second of four coloured quarters."""
    wide, high = size[0] // 2, size[1] // 2
    parts = ";".join(f"color={name}:s={wide}x{high}:r=25[{name}]" for name in QUARTERS)
    graph = f"{parts};[red][lime]hstack[t];[blue][white]hstack[u];[t][u]vstack"
    run("-f", "lavfi", "-i", graph, "-t", 1, *(options or ("-c:v", "libx264")), path)
    return path


def disc(path: Path, size: tuple[int, int], aspect: Fraction, *options: str) -> Path:
    """Encode a second of a disc on grey with pixels of an aspect: it is shown round."""
    wide, high = size
    radius = high // 3
    across = f"(X-{wide / 2})*{float(aspect)}"
    inside = f"if(lte(hypot({across},Y-{high / 2}),{radius}),220,90)"
    graph = f"color=black:s={wide}x{high}:r=25,geq=lum='{inside}':cb=128:cr=128"
    ratio = f"{aspect.numerator}/{aspect.denominator}"
    run("-f", "lavfi", "-i", f"{graph},setsar={ratio}", "-t", 1, *(options or ("-c:v", "libx264")), path)
    return path


def flat(path: Path, *options: str, colour: str = "0x203080", size: tuple[int, int] = (320, 180)) -> Path:
    """Encode a second of one colour."""
    source = f"color={colour}:s={size[0]}x{size[1]}:r=25,format=rgb24"
    run("-f", "lavfi", "-i", source, "-t", 1, *options, path)
    return path


def fields(path: Path, *options: str, first: str = "top") -> Path:
    """Encode two seconds of 25 interlaced frames a second, of a bar that moves from field to field."""
    bar = "color=black:s=640x360:r=50,geq=lum='if(lt(mod(X-N*10,640),60),235,16)':cb=128:cr=128"
    mode = "interleave_top" if first == "top" else "interleave_bottom"
    run("-f", "lavfi", "-i", f"{bar},tinterlace={mode}", "-t", 2, *options, path)
    return path


def combing(frame: av.VideoFrame) -> float:
    """Return how much lines differ from both of their neighbours where these are alike."""
    grey = frame.to_ndarray(format="gray").astype(int)
    above, here, below = grey[:-2], grey[1:-1], grey[2:]
    return float(np.abs(here - (above + below) // 2)[np.abs(above - below) < 20].mean())
