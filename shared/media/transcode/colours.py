"""The colours of a picture: range, matrix, primaries and transfer, kept or converted on the way to an encoder.

Source: ITU-T H.273 (the code points, which FFmpeg's numbers are).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import av

UNKNOWN: Final = 2
LIMITED: Final = 1
FULL: Final = 2
_RGB, _BT709, _SD = 0, 1, 6
_SD_HEIGHT: Final = 576
# Matrices that FFmpeg's scaler knows, by code point.
_MATRICES: Final = {1: "bt709", 4: "fcc", 5: "bt601", 6: "smpte170m", 7: "smpte240m", 9: "bt2020"}


@dataclass(frozen=True, slots=True)
class Colours:
    """Code points of H.273; 2 is unknown. `full`: samples use their full range."""

    matrix: int = UNKNOWN
    primaries: int = UNKNOWN
    transfer: int = UNKNOWN
    full: bool = False

    @classmethod
    def of(cls, frame: av.VideoFrame) -> Colours:
        """Return a frame's colours."""
        full = frame.color_range == FULL or frame.format.name.startswith("yuvj")
        return cls(int(frame.colorspace), int(frame.color_primaries), int(frame.color_trc), full)

    def encoded(self, codec: str, own_height: int, height: int) -> Colours:
        """Return the colours of such a picture when encoded at another height: limited range, and no RGB.

        Players guess an unknown matrix by the height: it is set where their guess would change.
        """
        if codec == "vp8":
            return Colours(_SD)  # VP8 has no other, RFC 6386, 9.2
        matrix = self.matrix
        if matrix == _RGB:
            matrix = _guess(height)
        elif matrix == UNKNOWN and _guess(own_height) != _guess(height):
            matrix = _guess(own_height)
        return Colours(matrix, self.primaries, self.transfer)

    def conversion(self, to: Colours, own_height: int) -> str:
        """Return the scale filter's options that convert pictures of these colours to others."""
        options = "out_range=limited"
        if self.matrix != _RGB:
            options += f":in_range={'full' if self.full else 'limited'}"
        own = _guess(own_height) if self.matrix == UNKNOWN else self.matrix
        if to.matrix in _MATRICES and own != to.matrix:
            options += f":out_color_matrix={_MATRICES[to.matrix]}"
            if own in _MATRICES:
                options += f":in_color_matrix={_MATRICES[own]}"
        return options


def _guess(height: int) -> int:
    return _SD if height <= _SD_HEIGHT else _BT709
