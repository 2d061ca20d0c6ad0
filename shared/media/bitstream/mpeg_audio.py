"""MPEG-1 and MPEG-2 audio (layers I, II and III): a frame's header, and frames of silence.

Sources: ISO/IEC 11172-3 (2.4.1.3, 2.4.2.3), ISO/IEC 13818-3 (2.4.2.3, lower sampling frequencies), and MPEG-2.5, an
unofficial extension to 8, 11.025 and 12 kHz.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

HEADER: Final = 4
LOWEST_MPEG1: Final = 32_000
RESERVOIR: Final = 511
"""A layer III frame's data may begin this many bytes of main data before the frame (main_data_begin, 9 bits)."""
_RATES: Final = (44_100, 48_000, 32_000)
_DIVISORS: Final = {3: 1, 2: 2, 0: 4}
"""By the version field: MPEG-1, MPEG-2, MPEG-2.5."""
# kbit/s by the bitrate index, for layers I, II and III; layers II and III of MPEG-2 share theirs.
_MPEG1: Final = {
    1: (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    2: (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    3: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
}
_LOWER: Final = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_MPEG2: Final = {1: (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256), 2: _LOWER, 3: _LOWER}
_SILENT_KBPS: Final = 64


class MpegAudio(NamedTuple):
    """A frame: its layer, sample rate and channels, its samples per channel, its bytes with the header."""

    layer: int
    rate: int
    channels: int
    samples: int
    size: int

    @property
    def codec(self) -> Literal["mp2", "mp3"]:
        """The codec's name; layer I goes with layer II, as decoders have it."""
        return "mp3" if self.layer == 3 else "mp2"


def read_mpeg_audio(data: bytes, at: int = 0) -> MpegAudio | None:
    """Read the header at `at`; None when there is none, or one without a bitrate (free format)."""
    if len(data) - at < HEADER or data[at] != 0xFF or data[at + 1] & 0xE0 != 0xE0:
        return None
    second, third, fourth = data[at + 1 : at + HEADER]
    version, layer = second >> 3 & 3, 4 - (second >> 1 & 3)
    index, rate_index = third >> 4, third >> 2 & 3
    if version == 1 or layer == 4 or index in (0, 15) or rate_index == 3 or fourth & 3 == 2:
        return None
    rate = _RATES[rate_index] // _DIVISORS[version]
    kbps = (_MPEG1 if version == 3 else _MPEG2)[layer][index]
    samples = 384 if layer == 1 else 576 if layer == 3 and version != 3 else 1152
    slot = 4 if layer == 1 else 1
    slots = samples // 8 // slot * kbps * 1000 // rate + (third >> 1 & 1)
    return MpegAudio(layer, rate, 1 if fourth >> 6 == 3 else 2, samples, slots * slot)


def silent_frame(codec: str, rate: int, channels: int) -> bytes | None:
    """Build a frame of silence: all zeros is no bit allocated, and in layer III also no reference to earlier frames.

    None for a rate that MPEG audio has not.
    """
    for version, divisor in _DIVISORS.items():
        for index, full in enumerate(_RATES):
            if full // divisor == rate:
                kbps = (_MPEG1 if version == 3 else _MPEG2)[layer := 3 if codec == "mp3" else 2].index(_SILENT_KBPS)
                mode = 3 if channels == 1 else 0
                second = 0xE0 | version << 3 | (4 - layer) << 1 | 1
                head = bytes((0xFF, second, kbps << 4 | index << 2, mode << 6))
                frame = read_mpeg_audio(head)
                return None if frame is None else head + bytes(frame.size - HEADER)
    return None
