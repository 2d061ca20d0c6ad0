"""Reading FLV: classic H.264 and AAC, and HEVC and Opus in the enhanced form.

Formats: Adobe, "Video File Format 10.1", annex E; Veovera, "Enhanced RTMP v2". Sequence headers are the avcC, hvcC,
AudioSpecificConfig and OpusHead that MP4 stores, and frames are as MP4 stores them.
"""

from __future__ import annotations

import struct

from services.ingester.publication import MAX_OFFSET, Contents, Frame, Kind, NotMedia
from services.ingester.recorder.audio import AacSound, opus_duration
from services.ingester.recorder.damage import DAMAGE
from services.ingester.recorder.names import audio_name, video_name
from services.ingester.recorder.pictures import LengthPrefixed
from services.ingester.recorder.unwrap import Unwrapper
from shared.media.model import TrackConfig, VideoCodec
from shared.media.mp4.boxes import Mp4Error
from shared.media.mp4.entries import opus_config
from shared.runtime.logging import get_logger

log = get_logger()
AUDIO_TAG, VIDEO_TAG, SCRIPT_TAG = 8, 9, 18
AUDIO_FLAG, VIDEO_FLAG = 4, 1
MS = 90  # 90 kHz ticks
MAX_NAMES = 32
_HEADER = struct.Struct(">IIxxx")
_SIZE = struct.Struct(">I")
_FOURCC: dict[bytes, VideoCodec] = {b"avc1": "h264", b"hvc1": "hevc"}
_CODEC_ID: dict[int, VideoCodec] = {7: "h264", 12: "hevc"}
_AAC, _EX_AUDIO, _COMMAND = 10, 9, 5
_START, _FRAMES, _FRAMES_X = 0, 1, 3


class FlvDemuxer:
    """Demuxes one FLV stream; configurations and the clock go on in the one that `next_run` gives."""

    def __init__(self) -> None:
        self.unsupported: set[str] = set()
        self.damaged = 0
        self._clock = Unwrapper(32)
        self._pictures = LengthPrefixed()
        self._aac = AacSound()
        self._opus: TrackConfig | None = None
        self._sounds = False
        self._frames: list[Frame] = []
        self._rest = b""
        self._begun = False
        self._contents = Contents()
        self._flags = self._failures = 0

    def next_run(self) -> None:
        """Expect a new file header: the stream goes on with other parameters."""
        self._rest, self._begun = b"", False

    @property
    def contents(self) -> Contents:
        """Tell what headers have announced; the same object while nothing changes."""
        expected: set[Kind] = set()
        if self._pictures.config is not None or self._announces(VIDEO_FLAG, "video"):
            expected.add("video")
        if self._sounds or self._announces(AUDIO_FLAG, "audio"):
            expected.add("audio")
        contents = Contents(frozenset(expected), frozenset(self.unsupported))
        if contents != self._contents:
            self._contents = contents
        return self._contents

    def _announces(self, flag: int, kind: str) -> bool:
        return bool(self._flags & flag) and not any(name.endswith(kind) for name in self.unsupported)

    def feed(self, data: bytes) -> list[Frame]:
        """Take bytes, give the frames that end in them; NotMedia when the tags do not add up."""
        data = self._rest + data if self._rest else data
        at, end = 0, len(data)
        if not self._begun:
            if end < 13:
                self._rest = data
                return []
            at = self._begin(data)
        while end - at >= 11:
            word, stamp = _HEADER.unpack_from(data, at)
            kind, size = word >> 24, word & 0xFFFFFF
            body = at + 11
            after = body + size
            if kind not in (AUDIO_TAG, VIDEO_TAG, SCRIPT_TAG):
                raise NotMedia(f"FLV tag of type {kind}")
            if after + 4 > end:
                break
            if _SIZE.unpack_from(data, after)[0] != size + 11:
                raise NotMedia("FLV tag whose size is not repeated after it")
            if size > 1 and kind != SCRIPT_TAG:
                time = (stamp >> 8) | (stamp & 0xFF) << 24
                read = self._video if kind == VIDEO_TAG else self._sound
                try:
                    read(data, body, after, time)
                except DAMAGE as error:
                    self._failed(kind, error)
            at = after + 4
        self._rest = data[at:]
        return self._given()

    def _failed(self, kind: int, error: Exception) -> None:
        """Count a tag that could not be read as damage."""
        self.damaged += 1
        if not self._failures:  # once: damage may come in every tag
            log.warning("recorder.damaged", tag=kind, error=f"{type(error).__name__}: {error}")
        self._failures += 1

    def flush(self) -> list[Frame]:
        """Return what has waited; a tag is whole or useless."""
        self._rest = b""
        try:
            self._frames += self._aac.finish()
        except DAMAGE:
            self.damaged += 1
        return self._given()

    def _given(self) -> list[Frame]:
        frames, self._frames = self._frames, []
        return frames

    def _begin(self, data: bytes) -> int:
        if data[:3] != b"FLV" or not 9 <= (head := _SIZE.unpack_from(data, 5)[0]) <= 64:
            raise NotMedia("no FLV header")
        if len(data) < head + 4:
            raise NotMedia("FLV header of an unknown form")
        self._begun, self._flags = True, data[4]
        return int(head) + 4

    def _video(self, data: bytes, at: int, end: int, time: int) -> None:
        first = data[at]
        offset = 0
        if first & 0x80:
            packet, codec = first & 0x0F, _FOURCC.get(data[at + 1 : at + 5])
            start = at + 5
            composed = packet == _FRAMES
            packet = _FRAMES if packet == _FRAMES_X else packet
        else:
            codec, packet, start = _CODEC_ID.get(first & 0x0F), data[at + 1], at + 2
            composed = True
        if codec is None:
            self._cannot(video_name(first & 0x0F, b"" if first < 0x80 else data[at + 1 : at + 5]))
            return
        if composed:
            offset = int.from_bytes(data[start : start + 3], "big", signed=True)
            start += 3
        if packet > _FRAMES or first >> 4 & 7 == _COMMAND or start >= end:
            return
        try:
            if packet == _START:
                self._pictures.configure(codec, data[start:end])
                return
            picture = self._pictures.take(data[start:end])
        except Mp4Error:
            picture = None
            self.damaged += 1
        if picture is None:
            return
        if abs(offset * MS) > MAX_OFFSET:
            self.damaged += 1
            return
        config, payload, sync, clean = picture
        self._frames.append(Frame(config, self._clock.take(time) * MS, offset * MS, sync, payload, clean=clean))

    def _cannot(self, name: str) -> None:
        """Remember what cannot be recorded; garbage may make up many names."""
        if len(self.unsupported) < MAX_NAMES:
            self.unsupported.add(name)

    def _sound(self, data: bytes, at: int, end: int, time: int) -> None:
        kind, packet = data[at] >> 4, data[at + 1]
        start, codec = at + 2, b"mp4a"
        if kind == _EX_AUDIO:
            packet, start, codec = data[at] & 0x0F, at + 5, data[at + 1 : at + 5]
        if kind not in (_AAC, _EX_AUDIO) or codec not in (b"mp4a", b"Opus"):
            self._cannot(audio_name(kind, codec if kind == _EX_AUDIO else b""))
        elif packet == _START:
            self._configure_sound(codec, data[start:end])
        elif packet == _FRAMES and self._sounds and end > start:
            self._sound_frame(self._clock.take(time) * MS, data[start:end])

    def _sound_frame(self, time: int, payload: bytes) -> None:
        if self._opus is None:
            frame = self._aac.ready(time, payload)
            if frame is None:
                self._frames += self._aac.wait(time, payload)
        else:
            duration = opus_duration(payload)
            frame = Frame(self._opus, time, 0, True, payload, duration) if duration else None
            self.damaged += not duration
        if frame is not None:
            self._frames.append(frame)

    def _configure_sound(self, codec: bytes, header: bytes) -> None:
        try:
            if codec == b"Opus":
                config = opus_config(header)
                self._opus = self._opus if config == self._opus else config
            else:
                self._frames += self._aac.configure(header)
                self._opus = None
        except Mp4Error:
            self.damaged += 1
            return
        self._sounds = True
