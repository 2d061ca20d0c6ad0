"""Encrypting the samples of fragments (ISO/IEC 23001-7, 7.2 and 8.1: `senc`, named by `saiz` and `saio`)."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from shared.media.cenc.cipher import SampleCipher
from shared.media.cenc.key import IV_SIZE, ContentKey
from shared.media.cenc.subsamples import Splitter, Subsample
from shared.media.mp4.boxes import full_box
from shared.media.tracks import TrackConfig

SUBSAMPLED: Final = 2
_SAIO_SIZE, _SENC_HEAD = 20, 16


@dataclass(frozen=True, slots=True)
class Auxiliary:
    """What decrypting a run of samples takes: for each its IV and its subsamples, if it has them."""

    infos: tuple[bytes, ...]
    subsampled: bool

    @property
    def size(self) -> int:
        """Bytes of its boxes."""
        return len(self._sizes()) + _SAIO_SIZE + _SENC_HEAD + sum(map(len, self.infos))

    def _sizes(self) -> bytes:
        first = len(self.infos[0])
        if all(len(info) == first for info in self.infos):
            return full_box(b"saiz", 0, 0, struct.pack(">BI", first, len(self.infos)))
        return full_box(b"saiz", 0, 0, struct.pack(">BI", 0, len(self.infos)), bytes(map(len, self.infos)))

    def boxes(self, at: int) -> bytes:
        """Build saiz, saio and senc; `at` is where they begin, counted from what offsets are relative to."""
        sizes = self._sizes()
        begin = at + len(sizes) + _SAIO_SIZE + _SENC_HEAD
        flags = SUBSAMPLED if self.subsampled else 0
        return b"".join((
            sizes, full_box(b"saio", 0, 0, struct.pack(">II", 1, begin)),
            full_box(b"senc", 0, flags, struct.pack(">I", len(self.infos)), *self.infos),
        ))  # fmt: skip


class Ivs:
    """Counts IVs up from a first one: no two samples under a key may have the same."""

    def __init__(self, first: int) -> None:
        self._next = first

    def take(self) -> bytes:
        """Return the next IV."""
        iv = self._next.to_bytes(IV_SIZE, "big")
        self._next = (self._next + 1) & 0xFFFFFFFFFFFFFFFF
        return iv


class Sealer:
    """Encrypts the samples of one segment or file; of its tracks, pictures in subsamples and sound whole."""

    def __init__(self, key: ContentKey, tracks: Sequence[TrackConfig], first_iv: int) -> None:
        self.kid = key.kid
        self._cipher = SampleCipher(key.key)
        self._splitters = splitters(tracks)
        self._ivs = Ivs(first_iv)

    def cover(self, tracks: Sequence[TrackConfig]) -> None:
        """Continue with these tracks, too."""
        self._splitters = splitters(tracks)

    def seal(self, track: int, payloads: Sequence[bytes]) -> tuple[list[bytes], Auxiliary]:
        """Return a track's samples encrypted, and what decrypting them takes."""
        splitter = self._splitters.get(track)
        made, infos = [], []
        for payload in payloads:
            iv = self._ivs.take()
            if splitter is None:
                made.append(self._cipher.whole(iv, payload))
                infos.append(iv)
            else:
                subsamples = splitter.split(payload)
                made.append(self._cipher.parts(iv, payload, subsamples))
                infos.append(info_of(iv, subsamples))
        return made, Auxiliary(tuple(infos), splitter is not None)


def info_of(iv: bytes, subsamples: Sequence[Subsample]) -> bytes:
    """Return a sample's auxiliary information (ISO/IEC 23001-7, 7.1)."""
    return struct.pack(f">{IV_SIZE}sH" + "HI" * len(subsamples), iv, len(subsamples), *sum(subsamples, ()))


def splitters(tracks: Sequence[TrackConfig]) -> Mapping[int, Splitter]:
    """Return how pictures are split, of each track with NAL units; AV1 and VP9 are encrypted whole."""
    return {track.track_id: Splitter(track) for track in tracks if track.codec in {"h264", "hevc"}}
