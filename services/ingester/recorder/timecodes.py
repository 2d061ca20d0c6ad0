"""The timecodes of a session's pictures: read as they pass, and told segment by segment.

Labels come in SEI messages of the pictures, or in data messages beside them (RTMP). To cost nothing where there are
none, only keyframes are looked at until one has a label; then all pictures are.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from services.ingester.publication import VIDEO_SCALE, Frame
from services.ingester.recorder.label_rate import LabelRate
from services.ingester.recorder.sei_clock import picture_clock
from shared.media.bitstream.errors import BitstreamError
from shared.media.bitstream.h264_sps import PictureTiming, parse_h264_sps
from shared.media.bitstream.hevc_sets import parse_hevc_sps
from shared.media.bitstream.params import H264_SPS, HEVC_SPS, VideoCodec, length_size, nal_type, record_sets
from shared.media.mp4.boxes import Mp4Error
from shared.media.mp4.entries import codec_record
from shared.media.timecode import Label
from shared.media.timecode_marks import marks_of
from shared.media.tracks import FRAME_CODECS, TrackConfig
from shared.messages.media import MOST_MARKS, TimecodeMark, Timecodes

MOST_PICTURES: Final = 4096
"""Labels of so many pictures are kept for one segment."""


class PictureClock:
    """Reads the labels of pictures."""

    def __init__(self) -> None:
        self._config: TrackConfig | None = None
        self._codec: VideoCodec = "h264"
        self._length = 4
        self._timed = True
        self._timing = PictureTiming()
        self._told = False  # the last keyframe had a timestamp
        self._last: Label | None = None

    @property
    def unit(self) -> tuple[int, int] | None:
        """The stream's num_units_in_tick and time_scale, as pictures a second: one unit is a frame."""
        return self._timing.unit

    def read(self, frame: Frame) -> Label | None:
        """Return a picture's label; None without one, or as long as no keyframe has had any."""
        if not frame.sync and not self._told:
            return None
        if frame.config is not self._config:
            self._adopt(frame.config)
        if not self._timed:
            return None
        clock = picture_clock(self._codec, frame.payload, self._length, self._timing)
        if frame.sync:
            self._told = clock is not None
        label = clock.after(self._last) if clock is not None else None
        if label is not None:
            self._last = label
        return label

    def _adopt(self, config: TrackConfig) -> None:
        self._config = config
        self._timed = config.codec not in FRAME_CODECS
        if not self._timed:
            return
        self._codec = "hevc" if config.codec == "hevc" else "h264"
        try:
            record = codec_record(config)
            self._length = length_size(self._codec, record)
            self._timing = _timing(self._codec, record_sets(self._codec, record))
        except (Mp4Error, BitstreamError):
            self._timing = PictureTiming()


def _timing(codec: VideoCodec, sets: list[bytes]) -> PictureTiming:
    """Return what the first SPS says, the unit of H.264 doubled: there it is a field (E.2.1)."""
    wanted = H264_SPS if codec == "h264" else HEVC_SPS
    sps = next((nal for nal in sets if nal_type(codec, nal) == wanted), None)
    if sps is None:
        return PictureTiming()
    if codec == "hevc":
        return PictureTiming(unit=parse_hevc_sps(sps).timing)
    timing = parse_h264_sps(sps).timing
    return timing._replace(unit=(2 * timing.unit[0], timing.unit[1]) if timing.unit else None)


@dataclass(slots=True)
class _Segment:
    """What is known of one segment: when its pictures are shown, and their labels; `beside`: of data messages."""

    start: int
    shown: list[int] = field(default_factory=list)
    labels: list[tuple[int, Label]] = field(default_factory=list)
    beside: list[tuple[int, Label]] = field(default_factory=list)


class SessionTimecodes:
    """Collects labels while frames pass, and tells them when their segments are complete. Times are 90 kHz ticks."""

    def __init__(self) -> None:
        self._clock = PictureClock()
        self._rate = LabelRate()
        self._segments: deque[_Segment] = deque()

    def cut(self, start: int) -> None:
        """Begin a segment."""
        self._segments.append(_Segment(start))

    def picture(self, frame: Frame, dts: int) -> None:
        """Take a picture of the newest segment."""
        label = self._clock.read(frame)
        if not self._segments:
            return
        segment, shown = self._segments[-1], dts + frame.offset
        if len(segment.shown) >= MOST_PICTURES:
            return
        segment.shown.append(shown)
        if label is not None:
            segment.labels.append((shown, label))
        for offset, beside in frame.labels:
            segment.beside.append((dts + offset, beside))

    def of(self, start: int) -> tuple[str | None, Timecodes | None]:
        """Return the label of the first picture of the segment that starts there, and where labels run from."""
        while self._segments and self._segments[0].start < start:
            self._segments.popleft()
        if not self._segments or self._segments[0].start != start:
            return None, None
        segment = self._segments.popleft()
        shown = sorted(segment.shown)
        labels = sorted(segment.labels) or _snapped(sorted(segment.beside), shown)
        if not labels or not shown:
            return None, None
        told = self._rate.learn(labels, shown, self._clock.unit)
        if told is None:
            return None, None
        counting, rate = told
        marks = marks_of(labels, counting, rate, VIDEO_SCALE)
        if not marks:
            return None, None
        if marks[0].at > shown[0]:  # the first pictures have none: those who look back count from the first that has
            marks = [marks[0].before(shown[0], counting, rate, VIDEO_SCALE), *marks[1:]]
        found = [TimecodeMark(at=m.at, label=str(counting.label(m.number)), still=m.still) for m in marks[:MOST_MARKS]]
        return found[0].label, Timecodes(rate=str(rate), marks=tuple(found))


def _snapped(labels: list[tuple[int, Label]], shown: list[int]) -> list[tuple[int, Label]]:
    """Give each label of a data message the nearest picture's time; one that is far from any keeps its own."""
    if len(shown) < 2:
        return labels
    near = (shown[-1] - shown[0]) // (len(shown) - 1)
    found: dict[int, Label] = {}
    for at, label in labels:
        index = bisect_left(shown, at)
        distance, nearest = min((abs(time - at), time) for time in shown[max(index - 1, 0) : index + 1])
        found[nearest if 2 * distance <= near else at] = label
    return sorted(found.items())
