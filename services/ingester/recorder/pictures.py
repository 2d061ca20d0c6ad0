"""Coded pictures on their way into MP4: length prefixes, and parameter sets in the sample entry alone.

Sources: ITU-T H.264 (7.3.1, 7.4.1.2, D.1.8 recovery point), ITU-T H.265 (7.3.1, table 7-1), ISO/IEC 14496-15.
"""

from __future__ import annotations

from typing import NamedTuple

from services.ingester.recorder.model import VIDEO_SCALE
from shared.media.model import TrackConfig, VideoCodec
from shared.media.mp4.boxes import Mp4Error
from shared.media.mp4.entries import video_config
from shared.media.mp4.params import build_avcc, build_hvcc, length_size, nal_type, record_sets, set_id, set_types

H264_IDR, H264_SEI = 5, 6
HEVC_IRAP = range(16, 24)
SEI_RECOVERY_POINT = 6
START = b"\0\0\1"
MAX_UNITS = 4096


class Picture(NamedTuple):
    """One picture as MP4 stores it, and the description that it needs."""

    config: TrackConfig
    payload: bytes
    sync: bool


class ParameterSets:
    """The parameter sets in force, and the track's description made of them."""

    def __init__(self, codec: VideoCodec) -> None:
        self.codec = codec
        self.config: TrackConfig | None = None
        self._sets: list[bytes] = []
        self._known: frozenset[bytes] = frozenset()
        self._record = b""

    def adopt(self, record: bytes) -> None:
        """Take an avcC or hvcC record as it is; Mp4Error when it makes no sense.

        A record that is merely repeated changes nothing, so that it does not undo what came among the pictures.
        """
        if record == self._record:
            return
        config = video_config(self.codec, record, VIDEO_SCALE)
        self._remember(record_sets(self.codec, record))
        self._record = record
        if config != self.config:
            self.config = config

    def update(self, sets: list[bytes]) -> None:
        """Take parameter sets found among pictures; one that is new or other than before changes the description."""
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
            self._remember(order)  # not all are there yet
            return
        self._remember(order)
        self.config = video_config(self.codec, record, VIDEO_SCALE)

    def _key(self, nal: bytes) -> tuple[int, int]:
        return nal_type(self.codec, nal), set_id(self.codec, nal)

    def _remember(self, sets: list[bytes]) -> None:
        self._sets, self._known = sets, frozenset(sets)


class LengthPrefixed:
    """Pictures that already have length prefixes, with a record that describes them (FLV)."""

    def __init__(self) -> None:
        self._sets: ParameterSets | None = None
        self._length = 4

    @property
    def config(self) -> TrackConfig | None:
        """Describe the track, once a record has come."""
        return self._sets.config if self._sets else None

    def configure(self, codec: VideoCodec, record: bytes) -> None:
        """Take a record; Mp4Error when it makes no sense."""
        sets = self._sets if self._sets and self._sets.codec == codec else ParameterSets(codec)
        sets.adopt(record)
        self._sets, self._length = sets, length_size(codec, record)

    def take(self, data: bytes, *, sync: bool) -> Picture | None:
        """Check a picture; a keyframe's own parameter sets move into the description. Mp4Error when it is cut short."""
        if self._sets is None or self._sets.config is None:
            return None
        if sync:
            data = self._strip(data, self._sets)
        return Picture(self._sets.config, data, sync) if data else None

    def _strip(self, data: bytes, sets: ParameterSets) -> bytes:
        size, kinds = self._length, set_types(sets.codec)
        at, end = 0, len(data)
        kept: list[bytes] = []
        found: list[bytes] = []
        while at < end:
            after = at + size + int.from_bytes(data[at : at + size], "big")
            if after > end or after == at + size:
                raise Mp4Error("NAL unit runs past its picture")
            head = data[at + size]
            kind = head & 0x1F if sets.codec == "h264" else head >> 1 & 0x3F
            if kind in kinds:
                found.append(data[at + size : after])
            else:
                kept.append(data[at:after])
            at = after
        if not found:
            return data
        if self._length == 4:
            sets.update(found)
        return b"".join(kept)


class ByteStream:
    """Pictures with start codes (MPEG-TS)."""

    def __init__(self, codec: VideoCodec) -> None:
        self._sets = ParameterSets(codec)
        self._kinds = frozenset(set_types(codec))

    @property
    def config(self) -> TrackConfig | None:
        """Describe the track, once all parameter sets have come."""
        return self._sets.config

    def take(self, data: bytes, at: int = 0) -> Picture | None:
        """Turn an access unit into a sample; None before the parameter sets, Mp4Error when those make no sense."""
        view = memoryview(data)
        hevc = self._sets.codec == "hevc"
        pieces: list[bytes | memoryview] = []
        found: list[bytes] = []
        sync = recovery = False
        at = data.find(START, at) + 3
        if at < 3:
            return None
        end = len(data)
        while at < end:
            following = data.find(START, at)
            stop = following if following >= 0 else end
            after = stop + 3
            while stop > at and not data[stop - 1]:
                stop -= 1
            if stop > at:
                kind = data[at] >> 1 & 0x3F if hevc else data[at] & 0x1F
                if kind in self._kinds:
                    found.append(data[at:stop])
                else:
                    sync = sync or (kind in HEVC_IRAP if hevc else kind == H264_IDR)
                    recovery = recovery or (kind == H264_SEI and not hevc and has_recovery_point(data[at:stop]))
                    pieces.append((stop - at).to_bytes(4, "big"))
                    pieces.append(view[at:stop])
            if following < 0:
                break
            at = after
        if found:
            self._sets.update(found)
        if self._sets.config is None or not pieces or len(pieces) > MAX_UNITS:
            return None
        return Picture(self._sets.config, b"".join(pieces), sync or recovery)


def has_recovery_point(sei: bytes) -> bool:
    """Tell whether an H.264 SEI unit marks a picture from which decoding can start at once (D.2.8)."""
    at, end = 1, len(sei)
    while end - at > 2:
        kind = size = 0
        while at < end and sei[at] == 0xFF:
            kind, at = kind + 255, at + 1
        if at >= end:
            return False
        kind, at = kind + sei[at], at + 1
        while at < end and sei[at] == 0xFF:
            size, at = size + 255, at + 1
        if at >= end:
            return False
        size, at = size + sei[at], at + 1
        if kind == SEI_RECOVERY_POINT:
            return at < end and bool(sei[at] & 0x80)  # recovery_frame_cnt is ue(v) 0
        at += size
    return False
