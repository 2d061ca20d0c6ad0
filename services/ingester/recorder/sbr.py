"""Detecting HE-AAC without signalling: low-rate AAC whose frames also carry the upper half of the spectrum (SBR).

Decoders double the rate when they find SBR, so it must be known before the track is described. SBR data is a fill
element (ISO/IEC 14496-3, 4.4.2.7) at a frame's end; what precedes it cannot be skipped without decoding, so the search
starts from the end. PS (8.6.4) is the last thing in it. A chance match does not repeat over many frames.
"""

from __future__ import annotations

from collections.abc import Iterator

from shared.media.mp4.aac import LC, AacConfig, read_aac, with_sbr

HIGHEST_CORE = 24000
NEEDED, MISSES = 5, 1
"""How many frames are examined, and how many of them may lack SBR when it is accepted."""
NEEDED_PS = 10
_END, _FILL = 7, 6
_FILL_HEAD, _LONG_HEAD, _LONG = 7, 15, 15
_EXTENSIONS = (13, 14)  # EXT_SBR_DATA, EXT_SBR_DATA_CRC
_OTHERS = (0, 1, 2, 11)  # stuffing, data, dynamic range: they may follow the SBR data
_PS = 2


class SbrWatch:
    """Examines a track's first frames until it is known whether they have SBR."""

    def __init__(self, config: bytes) -> None:
        meaning = read_aac(config)
        self._core = config
        self._mono = meaning.channels == 1
        self._seen = self._with = self._with_ps = 0
        self.config: bytes | None = None if may_hide(meaning) else config

    def look(self, frame: bytes) -> None:
        """Take a frame; sets `config` once it is known."""
        payload = next(sbr_payloads(frame), None)
        self._seen += 1
        if payload is not None:
            self._with += 1
            self._with_ps += self._mono and has_ps(*payload)
        if self._seen - self._with > MISSES:
            self.config = self._core
        elif self._seen >= (NEEDED_PS if self._mono else NEEDED):
            self.decide()

    def decide(self) -> None:
        """Set `config` from the frames seen so far."""
        if self.config is None:
            found = self._with >= self._seen - MISSES and self._with >= NEEDED - MISSES
            ps = self._with_ps >= self._seen - MISSES and self._seen >= NEEDED
            self.config = with_sbr(self._core, ps=ps) if found else self._core


def may_hide(meaning: AacConfig) -> bool:
    """Return whether a configuration allows SBR without signalling it."""
    return not meaning.told and meaning.kind == LC and meaning.rate <= HIGHEST_CORE


def sbr_payloads(frame: bytes) -> Iterator[tuple[int, int]]:
    """Yield what may be the SBR data at a frame's end: as a number, and its size in bytes."""
    value = int.from_bytes(frame, "big")
    for after in range(8):  # bits that fill the last byte, not all of them zeros
        if value >> after & 7 == _END:
            yield from _fills(value, len(frame) * 8, after + 3, 2)


def _fills(value: int, bits: int, end: int, depth: int) -> Iterator[tuple[int, int]]:
    """Yield fill elements that end `end` bits before the frame's end; others may follow the one searched for."""
    for size in range(270):
        long = size >= _LONG - 1
        at = end + 8 * size
        if at + _FILL_HEAD > bits:
            return
        head = value >> at & 0x7FFF
        if (head & 0x7F if not long else head) != (
            _FILL << 4 | size if not long else _FILL << 12 | _LONG << 8 | size - _LONG + 1
        ):
            continue
        content = value >> end & (1 << 8 * size) - 1
        if size > 1 and content >> 8 * size - 4 in _EXTENSIONS:
            yield content, size
        elif depth and (not size or content >> 8 * size - 4 in _OTHERS):
            yield from _fills(value, bits, at + (_LONG_HEAD if long else _FILL_HEAD), depth - 1)


def has_ps(content: int, size: int) -> bool:
    """Return whether SBR data may end with parametric stereo: bs_extended_data with bs_extension_id 2."""
    for pad in range(8):
        if content & (1 << pad) - 1:
            return False
        for length in range(1, min(size, 270)):
            at = pad + 8 * length
            long = length >= _LONG
            head = content >> at & (0x1FFF if long else 0x1F)
            wanted = 0x1F00 | length - _LONG if long else 0x10 | length
            if head == wanted and content >> at - 2 & 3 == _PS:
                return True
    return False
