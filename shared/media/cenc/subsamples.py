"""Which bytes of a picture are encrypted (ISO/IEC 23001-7, 9.5.2): those of slices, behind their NAL units' headers.

Lengths, headers and NAL units that are no slices (parameter sets, SEI) stay clear, as they shall; slice headers are
encrypted, which the scheme `cenc` allows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from shared.media.bitstream.nal import is_slice
from shared.media.cenc.key import IV_SIZE
from shared.media.mp4.entries import codec_record
from shared.media.tracks import TrackConfig, VideoCodec

BLOCK: Final = 16
MOST: Final = (255 - IV_SIZE - 2) // 6
"""How many subsamples the 8-bit size of a sample's auxiliary information leaves room for (ISO/IEC 14496-12, 8.7.8)."""
MOST_CLEAR: Final = 0xFFFF
_HEADER: Final = {"h264": 1, "hevc": 2}
_LENGTH_AT: Final = {"h264": 4, "hevc": 21}
"""Where avcC and hvcC say how long a NAL unit's length is (ISO/IEC 14496-15, 5.3.3.1.2 and 8.3.3.1.2)."""


class Subsample(NamedTuple):
    """Bytes of a sample: clear ones, and the protected ones after them."""

    clear: int
    protected: int


class Splitter:
    """Splits the pictures of a track."""

    def __init__(self, config: TrackConfig) -> None:
        self._codec: VideoCodec = "hevc" if config.codec == "hevc" else "h264"
        self._length = (codec_record(config)[_LENGTH_AT[self._codec]] & 3) + 1

    def split(self, sample: bytes) -> list[Subsample]:
        """Return a picture's subsamples, which span it; at least one.

        A picture of more slices than can be listed is protected from the last listed one on to its end.
        """
        found: list[Subsample] = []
        at = clear = 0
        for start, end in self._slices(sample):
            protected = (end - start) // BLOCK * BLOCK
            if protected:
                found += _entries(end - protected - at, protected)
                at = end
        clear = len(sample) - at
        if clear or not found:
            found += _entries(clear, 0)
        if len(found) > MOST:
            rest = len(sample) - sum(map(sum, found[: MOST - 1]))
            first = found[MOST - 1].clear
            found[MOST - 1 :] = [Subsample(first, rest - first)]
        return found

    def _slices(self, sample: bytes) -> Iterator[tuple[int, int]]:
        """Yield where the bytes of each slice begin, behind its header, and end; damage counts as a slice."""
        length, header = self._length, _HEADER[self._codec]
        at, size = 0, len(sample)
        while at + length < size:
            start = at + length
            end = start + int.from_bytes(sample[at:start], "big")
            whole = end <= size
            end = min(end, size)
            if end > start and (not whole or is_slice(self._codec, sample[start : start + header])):
                yield min(start + header, end), end
            at = end


def _entries(clear: int, protected: int) -> list[Subsample]:
    """Return a subsample; more than one where its clear bytes are too many for 16 bits."""
    before, rest = divmod(clear, MOST_CLEAR) if clear > MOST_CLEAR else (0, clear)
    return [Subsample(MOST_CLEAR, 0)] * before + [Subsample(rest, protected)]
