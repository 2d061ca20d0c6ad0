"""Reading frames from audio and video messages.

Sequence headers are the avcC, hvcC, av1C, vpcC, AudioSpecificConfig and OpusHead of MP4, and FLAC's STREAMINFO; frames
are as MP4 stores them. VP9, MPEG audio and AC-3 need no sequence headers: their frames say how they decode.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from services.ingester.publication import MAX_OFFSET, Frame, Kind
from services.ingester.recorder.audio import AacSound, opus_duration
from services.ingester.recorder.coded import CodedPictures
from services.ingester.recorder.damage import DAMAGE
from services.ingester.recorder.framed import Family, FramedSound
from services.ingester.recorder.names import audio_name, video_name
from services.ingester.recorder.scenes import Toned
from services.ingester.recorder.unwrap import Unwrapper
from services.ingester.rtmp.colour_info import read_colour_info
from shared.media.bitstream.flac import flac_samples
from shared.media.mp4.boxes import Mp4Error
from shared.media.mp4.entries import flac_config, opus_config
from shared.media.timecode import Label
from shared.media.tracks import PictureCodec, TrackConfig
from shared.rtmp.chunks import VIDEO
from shared.runtime.logging import get_logger

log = get_logger()
MS: Final = 90
"""90 kHz ticks."""
MAX_NAMES: Final = 32
MAX_LABELS: Final = 64
"""Timecodes that wait for a picture; older ones are dropped."""
VIDEO_CODECS: Final[dict[str, PictureCodec]] = {"avc1": "h264", "hvc1": "hevc", "av01": "av1", "vp09": "vp9"}
FAMILIES: Final[dict[str, Family]] = {".mp3": "mpeg", "ac-3": "ac3", "ec-3": "ac3"}
AUDIO_CODECS: Final = ("mp4a", "Opus", "fLaC", *FAMILIES)
"""The FOURCCs of the recorded codecs."""
_DESCRIBED: Final = {"Opus": opus_config, "fLaC": flac_config}


class FrameReader:
    """Reads sequence headers and frames of both tracks, in message order, on one clock.

    `unsupported` names the tracks that cannot be recorded; `damaged` counts unreadable messages.
    """

    def __init__(self, clock: Unwrapper | None = None) -> None:
        self.unsupported: set[str] = set()
        self.damaged = 0
        self._clock = clock or Unwrapper(32)
        self._pictures = CodedPictures()
        self._aac = AacSound()
        self._described: TrackConfig | None = None  # Opus or FLAC
        self._framed: dict[str, FramedSound] = {}
        self._sounds = False
        self._failures = 0
        self._frames: list[Frame] = []
        self._labels: list[tuple[int, Label]] = []
        self._colours: dict[bytes, bytes] = {}
        self._toned = Toned()

    def describes(self, kind: Kind) -> bool:
        """Return whether the track has a sequence header and can be recorded."""
        return self._pictures.config is not None if kind == "video" else self._sounds

    def describe(self, kind: int, codec: str, record: bytes) -> None:
        """Take a sequence header's record."""
        if kind == VIDEO and (video := VIDEO_CODECS.get(codec)) is not None:
            if record:
                self._guarded(kind, lambda: self._pictures.configure(video, record))
        elif kind != VIDEO and codec in FAMILIES:
            self._sounds = True  # frames say the rest
        elif kind != VIDEO and codec in AUDIO_CODECS:
            self._guarded(kind, lambda: self._describe_sound(codec, record))
        else:
            self._cannot(kind, codec)

    def read(self, kind: int, codec: str, timestamp: int, offset: int, data: bytes) -> None:
        """Take a frame: its decoding time in ms, modulo 2**32, and the offset to its presentation time."""
        if codec not in (VIDEO_CODECS if kind == VIDEO else AUDIO_CODECS):
            self._cannot(kind, codec)
            return
        try:
            if kind == VIDEO:
                self._pictures.begin(VIDEO_CODECS[codec])
                self._picture(timestamp, offset, data)
            elif codec in FAMILIES:
                self._framed_sound(codec, timestamp, data)
            elif self._sounds:
                self._sound(timestamp, data)
        except Mp4Error:
            self.damaged += 1
        except DAMAGE as error:
            self._failed(kind, error)

    def timecode(self, timestamp: int, label: Label) -> None:
        """Take the timecode of the picture shown at a time in ms, modulo 2**32; it comes before or after that one."""
        self._labels = [*self._labels[1 - MAX_LABELS :], (timestamp, label)]

    def colours(self, data: bytes) -> None:
        """Take a metadata message about the pictures: it applies from the next key frame on."""
        self._colours = read_colour_info(data) or self._colours

    def finish(self) -> None:
        """Release the frames that wait."""
        try:
            self._frames += self._aac.finish()
        except DAMAGE:
            self.damaged += 1

    def add(self, frames: list[Frame]) -> None:
        """Add frames that were read elsewhere, of further tracks."""
        self._frames += frames

    def take(self) -> list[Frame]:
        """Return the frames read since the last call."""
        frames, self._frames = self._frames, []
        return frames

    def _picture(self, timestamp: int, offset: int, data: bytes) -> None:
        picture = self._pictures.take(data)
        if picture is None:
            return
        if abs(offset * MS) > MAX_OFFSET:
            self.damaged += 1
            return
        config, payload, sync, clean = picture
        if self._colours:
            config = self._toned.of(config, self._colours, key=sync)
        labels = self._labels_near(timestamp) if self._labels else ()
        time = self._clock.take(timestamp) * MS
        self._frames.append(Frame(config, time, offset * MS, sync, payload, clean=clean, labels=labels))

    def _labels_near(self, timestamp: int) -> tuple[tuple[int, Label], ...]:
        """Take the waiting timecodes, as ticks from a picture's timestamp; those that are far from it are dropped."""
        labels, self._labels = self._labels, []
        half = 1 << 31
        near = [((((at - timestamp + half) & (2 * half - 1)) - half) * MS, label) for at, label in labels]
        return tuple((ticks, label) for ticks, label in near if abs(ticks) <= MAX_OFFSET)

    def _sound(self, timestamp: int, data: bytes) -> None:
        time = self._clock.take(timestamp) * MS
        if self._described is None:
            frame = self._aac.ready(time, data)
            if frame is None:
                self._frames += self._aac.wait(time, data)
        else:
            duration = opus_duration(data) if self._described.codec == "opus" else flac_samples(data)
            frame = Frame(self._described, time, 0, True, data, duration) if duration else None
            self.damaged += not duration
        if frame is not None:
            self._frames.append(frame)

    def _framed_sound(self, codec: str, timestamp: int, data: bytes) -> None:
        sound = self._framed.get(codec)
        if sound is None:
            sound = self._framed[codec] = FramedSound(FAMILIES[codec])
        before = sound.damaged
        frames = sound.feed(data, self._clock.take(timestamp) * MS, whole=True)
        self.damaged += sound.damaged - before
        self._sounds = self._sounds or bool(frames)
        self._frames += frames

    def _describe_sound(self, codec: str, record: bytes) -> None:
        if codec in _DESCRIBED:
            config = _DESCRIBED[codec](record)
            self._described = self._described if config == self._described else config
        else:
            self._frames += self._aac.configure(record)
            self._described = None
        self._sounds = True

    def _guarded(self, kind: int, action: Callable[[], None]) -> None:
        """Run an action; count a failure as damage."""
        try:
            action()
        except Mp4Error:
            self.damaged += 1
        except DAMAGE as error:
            self._failed(kind, error)

    def _failed(self, kind: int, error: Exception) -> None:
        """Count an unreadable message as damage."""
        self.damaged += 1
        if not self._failures:  # once: damage may come in every message
            log.warning("recorder.damaged", tag=kind, error=f"{type(error).__name__}: {error}")
        self._failures += 1

    def _cannot(self, kind: int, codec: str) -> None:
        """Record a codec that cannot be recorded, up to MAX_NAMES: garbage may yield many names."""
        if len(self.unsupported) < MAX_NAMES:
            self.unsupported.add(video_name(codec) if kind == VIDEO else audio_name(codec))
