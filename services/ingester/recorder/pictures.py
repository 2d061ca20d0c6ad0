"""Converting coded pictures to MP4: NAL units get length prefixes, parameter sets go into the sample entry only.

Sources: ITU-T H.264 (7.3.1, 7.4.1.2, D.1.8 recovery point), ITU-T H.265 (7.3.1, table 7-1, D.2.8), ISO/IEC 14496-15.
"""

from __future__ import annotations

from typing import NamedTuple

from services.ingester.publication import VIDEO_SCALE
from shared.media.bitstream.bit_reader import unescape
from shared.media.bitstream.params import build_avcc, build_hvcc, length_size, nal_type, record_sets, set_id, set_types
from shared.media.mp4.boxes import Mp4Error
from shared.media.mp4.entries import video_config
from shared.media.tracks import TrackConfig, VideoCodec

H264_IDR, H264_SEI = 5, 6
H264_SLICES = range(1, 6)
HEVC_IRAP, HEVC_SEI = range(16, 24), 39
HEVC_SLICES = range(32)
SEI_RECOVERY_POINT = 6


class CodedPicture(NamedTuple):
    """One picture as MP4 stores it, and the track description it needs; `sync` and `clean` as in Frame."""

    config: TrackConfig
    payload: bytes
    sync: bool
    clean: bool


class ParameterSets:
    """The active parameter sets, and the track description built from them."""

    def __init__(self, codec: VideoCodec) -> None:
        self.codec = codec
        self.config: TrackConfig | None = None
        self._sets: list[bytes] = []
        self._known: frozenset[bytes] = frozenset()
        self._record = b""

    @property
    def known(self) -> frozenset[bytes]:
        """The parameter sets' NAL units."""
        return self._known

    def adopt(self, record: bytes) -> None:
        """Take an avcC or hvcC record as it is; Mp4Error when it is invalid.

        A repeated record changes nothing, so that it does not undo parameter sets that came between the pictures.
        """
        if record == self._record:
            return
        config = video_config(self.codec, record, VIDEO_SCALE)
        self._remember(record_sets(self.codec, record))
        self._record = record
        if config != self.config:
            self.config = config

    def update(self, sets: list[bytes]) -> None:
        """Take parameter sets found between pictures; a new or changed one changes the description."""
        if self._known.issuperset(sets):
            return
        current = {self._key(nal): nal for nal in self._sets}
        current.update((self._key(nal), nal) for nal in sets)
        order = sorted(current.values(), key=lambda nal: nal_type(self.codec, nal))
        try:
            record = build_avcc(order) if self.codec == "h264" else build_hvcc(order)
        except Mp4Error:
            if self.config is not None:
                raise
            self._remember(order)  # incomplete so far
            return
        self._remember(order)
        self.config = video_config(self.codec, record, VIDEO_SCALE)

    def _key(self, nal: bytes) -> tuple[int, int]:
        return nal_type(self.codec, nal), set_id(self.codec, nal)

    def _remember(self, sets: list[bytes]) -> None:
        self._sets, self._known = sets, frozenset(sets)


class LengthPrefixed:
    """Reads pictures that already have length prefixes and a record that describes them (RTMP)."""

    def __init__(self) -> None:
        self._sets: ParameterSets | None = None
        self._length = 4

    @property
    def config(self) -> TrackConfig | None:
        """The track's description, once a record has come."""
        return self._sets.config if self._sets else None

    def configure(self, codec: VideoCodec, record: bytes) -> None:
        """Take a record; Mp4Error when it is invalid."""
        sets = self._sets if self._sets and self._sets.codec == codec else ParameterSets(codec)
        sets.adopt(record)
        self._sets, self._length = sets, length_size(codec, record)

    def take(self, data: bytes) -> CodedPicture | None:
        """Check a picture; move its parameter sets, if any, into the description. Mp4Error when it is cut short."""
        sets = self._sets
        if sets is None or sets.config is None:
            return None
        clean, recovers, bare = self._look(data, sets.codec)
        if clean or recovers or not bare:
            data = self._strip(data, sets)
        return CodedPicture(sets.config, data, clean or recovers, clean) if data else None

    def _look(self, data: bytes, codec: VideoCodec) -> tuple[bool, bool, bool]:
        """Scan the NAL units up to the first slice; return (IDR or IRAP, recovery point, no parameter sets)."""
        hevc = codec == "hevc"
        slices, sei, sets = (
            (HEVC_SLICES, HEVC_SEI, set_types(codec)) if hevc else (H264_SLICES, H264_SEI, set_types(codec))
        )
        size, at, end = self._length, 0, len(data)
        recovers, bare = False, True
        while at + size < end:
            start = at + size
            at = start + int.from_bytes(data[at:start], "big")
            kind = data[start] >> 1 & 0x3F if hevc else data[start] & 0x1F
            if at > end:
                raise Mp4Error("NAL unit runs past its picture")
            if at == start:
                continue
            if kind in slices:
                return kind in HEVC_IRAP if hevc else kind == H264_IDR, recovers, bare
            recovers = recovers or (kind == sei and has_recovery_point(codec, data[start:at]))
            bare = bare and kind not in sets
        return False, False, bare

    def _strip(self, data: bytes, sets: ParameterSets) -> bytes:
        size, kinds = self._length, set_types(sets.codec)
        at, end = 0, len(data)
        kept: list[bytes] = []
        found: list[bytes] = []
        while at < end:
            start = at + size
            after = start + int.from_bytes(data[at:start], "big")
            if after > end or start >= end:
                raise Mp4Error("NAL unit runs past its picture")
            if after > start:
                kind = data[start] & 0x1F if sets.codec == "h264" else data[start] >> 1 & 0x3F
                if kind in kinds:
                    found.append(data[start:after])
                else:
                    kept.append(data[at:after])
            at = after
        if not found:
            return data
        if self._length == 4:
            sets.update(found)
        return b"".join(kept)


def has_recovery_point(codec: VideoCodec, sei: bytes) -> bool:
    """Return whether an SEI unit marks a picture at which a decoder can start (H.264 D.2.8, H.265 D.3.8).

    The recovery count, until which pictures are not exact, is ignored: a stream of gradual refreshes has no other
    picture to start at.
    """
    if SEI_RECOVERY_POINT not in sei:  # the usual case
        return False
    data = unescape(sei)
    at, end = 1 if codec == "h264" else 2, len(data)
    while end - at > 2:
        kind = size = 0
        while at < end and data[at] == 0xFF:
            kind, at = kind + 255, at + 1
        if at >= end:
            return False
        kind, at = kind + data[at], at + 1
        while at < end and data[at] == 0xFF:
            size, at = size + 255, at + 1
        if at >= end:
            return False
        size, at = size + data[at], at + 1
        if kind == SEI_RECOVERY_POINT:
            return at + size <= end and size > 0
        at += size
    return False
