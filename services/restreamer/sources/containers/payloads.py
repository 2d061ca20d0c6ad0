"""Convert coded frames to the model's form: H.264 and HEVC length-prefixed (4 bytes), AAC raw, and a configuration.

Sources: ISO/IEC 14496-15 (5.3.3.1, 8.3.3.1), ISO/IEC 14496-3 (1.A.2.2, adts_frame), ITU-T H.264 annex B.
"""

from __future__ import annotations

from typing import Final, Protocol

from services.restreamer.model import SourceError
from shared.media.bitstream.errors import BitstreamError
from shared.media.bitstream.nal import H264_AUD, HEVC_AUD, join_sample, split_sample
from shared.media.bitstream.params import build_avcc, build_hvcc, length_size, nal_type, set_id, set_types, split_annexb
from shared.media.mp4.boxes import Mp4Error
from shared.media.tracks import VideoCodec

LENGTH: Final = 4
_LENGTH_AT: Final[dict[VideoCodec, int]] = {"h264": 4, "hevc": 21}  # the record's byte that ends in lengthSizeMinusOne
ADTS_HEAD: Final = 7
# The first bytes of NAL units that only a stream of the other codec has: HEVC's VPS, H.264's SPS.
_OTHERS: Final[dict[VideoCodec, tuple[tuple[bytes, ...], VideoCodec]]] = {
    "h264": ((b"\x40\x01",), "hevc"),
    "hevc": ((b"\x67", b"\x47", b"\x27"), "h264"),
}


def with_nals(codec: str) -> VideoCodec | None:
    """Return the codec if its pictures are made of NAL units, else None."""
    return "h264" if codec == "h264" else "hevc" if codec == "hevc" else None


class Payload(Protocol):
    """A converter of one track's frames. `config` is the configuration for the last frame taken."""

    config: bytes

    def take(self, data: bytes, *, key: bool) -> bytes:
        """Return a frame in the model's form; empty when nothing is left of it."""
        ...


class AsIs:
    """Frames that need no conversion."""

    def __init__(self, config: bytes) -> None:
        self.config = config

    def take(self, data: bytes, *, key: bool) -> bytes:  # noqa: ARG002
        """Return the frame unchanged."""
        return data


class Relengthed:
    """Pictures whose NAL units have lengths of 1 or 2 bytes."""

    def __init__(self, codec: VideoCodec, record: bytes) -> None:
        self._size = length_size(codec, record)
        at = _LENGTH_AT[codec]
        self.config = record[:at] + bytes((record[at] | 3,)) + record[at + 1 :]

    def take(self, data: bytes, *, key: bool) -> bytes:  # noqa: ARG002
        """Return the picture with lengths of 4 bytes; raise SourceError when its lengths are invalid."""
        try:
            return join_sample(split_sample(data, self._size), LENGTH)
        except BitstreamError as error:
            raise SourceError("a picture's data are broken") from error


class ByteStream:
    """Pictures with start codes. Parameter sets go into the configuration, which may change at a keyframe.

    Even `codec` may change: MPEG-TS allows it within a stream, and FFmpeg's demuxer does not report it.
    """

    def __init__(self, codec: VideoCodec, sets: bytes) -> None:
        self._begin(codec)
        for nal in split_annexb(sets):
            self._learn(nal)

    def _begin(self, codec: VideoCodec) -> None:
        self.codec: VideoCodec = codec
        self.config = b""
        self._delimiter = H264_AUD if codec == "h264" else HEVC_AUD
        self._kinds = set_types(codec)
        self._sets: dict[tuple[int, int], bytes] = {}
        self._fresh = False

    def take(self, data: bytes, *, key: bool) -> bytes:
        """Return the picture; update the configuration at a keyframe."""
        kept: list[bytes] = []
        nals = split_annexb(data)
        marks, other = _OTHERS[self.codec]
        if key and any(nal.startswith(marks) for nal in nals):
            self._begin(other)
        for nal in nals:
            kind = nal_type(self.codec, nal)
            if kind in self._kinds:
                self._learn(nal)
            elif kind != self._delimiter:
                kept.append(nal)
        if self._fresh:
            self._settle(kept, key=key)
        return join_sample(kept, LENGTH) if self.config else b""

    def _learn(self, nal: bytes) -> None:
        try:
            name = (nal_type(self.codec, nal), set_id(self.codec, nal))
        except Mp4Error:
            return
        if self._sets.get(name) != nal:
            self._sets[name] = nal
            self._fresh = True

    def _settle(self, kept: list[bytes], *, key: bool) -> None:
        """Build the configuration from all known sets; between keyframes, put new sets before their picture."""
        sets = [nal for _, nal in sorted(self._sets.items())]
        if not key:
            kept[:0] = sets if self.config else []
            return
        try:
            self.config = build_avcc(sets) if self.codec == "h264" else build_hvcc(sets)
        except Mp4Error:
            return  # some sets are still missing
        self._fresh = False


class Adts:
    """AAC frames with ADTS headers, which hold their configuration."""

    def __init__(self) -> None:
        self.config = b""

    def take(self, data: bytes, *, key: bool) -> bytes:  # noqa: ARG002
        """Return the raw frame; empty for anything else."""
        if len(data) < ADTS_HEAD or data[0] != 0xFF or data[1] & 0xF6 != 0xF0:
            return b""
        kind, rate, channels = (data[2] >> 6) + 1, data[2] >> 2 & 15, (data[2] & 1) << 2 | data[3] >> 6
        self.config = (kind << 11 | rate << 7 | channels << 3).to_bytes(2, "big")
        return data[ADTS_HEAD if data[1] & 1 else ADTS_HEAD + 2 :]


def payload_of(codec: str, extradata: bytes) -> Payload:
    """Return the converter that a track's frames need; raise SourceError when its configuration is broken."""
    if codec == "aac" and not extradata:
        return Adts()
    video = with_nals(codec)
    if video is None:
        return AsIs(extradata)
    if extradata[:1] != b"\1":
        return ByteStream(video, extradata)
    try:
        size = length_size(video, extradata)
    except Mp4Error as error:
        raise SourceError("the video's configuration is broken") from error
    return AsIs(extradata) if size == LENGTH else Relengthed(video, extradata)
