"""Maps pictures of high dynamic range (PQ and HLG, BT.2020) to SDR (sRGB), plainly.

Sources: SMPTE ST 2084 and ITU-R BT.2100 (transfer functions), BT.2087 (colours), BT.2408 (reference white).
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from shared.media.transcode.colours import Colours

_PQ, _HLG = 16, 18
HDR: Final = frozenset({_PQ, _HLG})
_BT2020: Final = 9
WHITE: Final = 203.0
"""Reference white, cd/m2 (BT.2408)."""
KNEE: Final = 0.75
"""Up to this part of reference white light is kept; above it, it is compressed, so that highlights keep detail."""
ROWS: Final = 128
_TO_709: Final = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)
Floats = npt.NDArray[np.float32]


def to_sdr(pixels: npt.NDArray[np.uint16], colours: Colours) -> npt.NDArray[np.uint8]:
    """Map height x width x RGB of 16 bits to 8 bits of sRGB; a few rows at a time, which bounds the memory."""
    mapped = np.empty(pixels.shape, np.uint8)
    for row in range(0, len(pixels), ROWS):
        coded = pixels[row : row + ROWS].astype(np.float32) * np.float32(1 / 65535)
        light = (_pq(coded) if colours.transfer == _PQ else _hlg(coded)) / np.float32(WHITE)
        if colours.primaries in {_BT2020, 2}:
            light = np.maximum(light @ _TO_709.T, 0)
        mapped[row : row + ROWS] = np.round(_srgb(_compressed(light)) * 255)
    return mapped


def _pq(coded: Floats) -> Floats:
    """Return light in cd/m2 (ST 2084, 4.1)."""
    power = coded ** np.float32(4096 / 2523 / 128)
    ratio = np.maximum(power - 3424 / 4096, 0) / (2413 / 128 - 2392 / 128 * power)
    return np.asarray(10_000 * ratio ** (16384 / 2610), np.float32)


def _hlg(coded: Floats) -> Floats:
    """Return light in cd/m2 of a display of 1000 cd/m2 (BT.2100, table 5)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(coded <= 0.5, coded**2 / 3, (np.exp((coded - c) / a) + b) / 12)
    luma = scene @ np.array([0.2627, 0.6780, 0.0593])
    return np.asarray(1000 * np.maximum(luma, 1e-9)[..., None] ** 0.2 * scene, np.float32)


def _compressed(light: Floats) -> Floats:
    most = np.maximum(light.max(axis=-1, keepdims=True), np.float32(1e-9))
    above = 1 - np.exp(-np.maximum(most - KNEE, 0) / (1 - KNEE))
    return np.asarray(light * np.where(most > KNEE, (KNEE + (1 - KNEE) * above) / most, 1), np.float32)


def _srgb(light: Floats) -> Floats:
    light = np.clip(light, 0, 1)
    return np.asarray(np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055), np.float32)
