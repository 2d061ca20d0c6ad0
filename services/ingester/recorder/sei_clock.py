"""Timecodes in SEI messages: H.264's picture timing and HEVC's time code.

Sources: ITU-T H.264 (D.1.3, D.2.3, table D-1), ITU-T H.265 (D.2.27, D.3.27).
"""

from __future__ import annotations

from typing import Final, NamedTuple

from shared.media.bitstream.bit_reader import BitReader
from shared.media.bitstream.h264_sps import PictureTiming
from shared.media.bitstream.nal import H264_SEI, HEVC_SEI_PREFIX
from shared.media.bitstream.params import VideoCodec
from shared.media.bitstream.sei import MOST_BYTES, sei_messages
from shared.media.mp4.boxes import Mp4Error
from shared.media.timecode import Label

PICTURE_TIMING, TIME_CODE = 1, 136
# Table D-1: how many clock timestamps a pic_struct has.
_CLOCKS: Final = (1, 1, 1, 2, 2, 3, 3, 2, 3)
# Table D-2: dropping of the two lowest counts in most minutes, which is SMPTE's drop frame.
_DROPS_TWO: Final = 4
_SLICES: Final = {"h264": range(1, 6), "hevc": range(32)}
MOST_UNITS: Final = 32
"""So many units before a picture's slices are looked through."""
_SEI: Final = {"h264": H264_SEI, "hevc": HEVC_SEI_PREFIX}


class ClockTime(NamedTuple):
    """A clock timestamp as coded; a part that is None is as in the timestamp before it."""

    frames: int
    seconds: int | None
    minutes: int | None
    hours: int | None
    drop: bool

    def after(self, before: Label | None) -> Label | None:
        """Return the label, its missing parts carried over; None when there is nothing to carry or it is no time."""
        hours, minutes, seconds = self.hours, self.minutes, self.seconds
        if before is not None:
            hours = before.hours if hours is None else hours
            minutes = before.minutes if minutes is None else minutes
            seconds = before.seconds if seconds is None else seconds
        if hours is None or minutes is None or seconds is None:
            return None
        label = Label(hours, minutes, seconds, self.frames, self.drop)
        return label if label.is_sound else None


def picture_clock(codec: VideoCodec, sample: bytes, length_size: int, timing: PictureTiming) -> ClockTime | None:
    """Return the first timestamp of a picture (of a frame's first field); None without a readable one."""
    slices, sei = _SLICES[codec], _SEI[codec]
    at, end = 0, len(sample)
    for _ in range(MOST_UNITS):
        if at + length_size >= end:
            return None
        start = at + length_size
        at = start + int.from_bytes(sample[at:start], "big")
        if at > end:
            return None
        kind = sample[start] & 0x1F if codec == "h264" else sample[start] >> 1 & 0x3F
        if kind == sei:
            found = read_clock(codec, sample[start : min(at, start + MOST_BYTES)], timing)
            if found is not None:
                return found
        elif kind in slices and at > start:
            return None
    return None


def read_clock(codec: VideoCodec, nal: bytes, timing: PictureTiming) -> ClockTime | None:
    """Return the first timestamp in an SEI unit; None without a readable one."""
    wanted = PICTURE_TIMING if codec == "h264" else TIME_CODE
    for kind, payload in sei_messages(codec, nal):
        if kind == wanted:
            try:
                reader = BitReader(payload)
                return _picture_timing(reader, timing) if codec == "h264" else _time_code(reader)
            except Mp4Error:
                return None
    return None


def _picture_timing(reader: BitReader, timing: PictureTiming) -> ClockTime | None:
    if not timing.structure:
        return None
    reader.bits(timing.delays)
    structure = reader.bits(4)
    for _ in range(_CLOCKS[structure] if structure < len(_CLOCKS) else 0):
        if reader.flag():  # clock_timestamp_flag
            reader.bits(3)  # ct_type, nuit_field_based_flag
            return _timestamp(reader, 8)
    return None


def _time_code(reader: BitReader) -> ClockTime | None:
    for _ in range(reader.bits(2)):
        if reader.flag():  # clock_timestamp_flag
            reader.flag()  # units_field_based_flag
            return _timestamp(reader, 9)
    return None


def _timestamp(reader: BitReader, frame_bits: int) -> ClockTime:
    """Read from counting_type on. The offset after it is left out: labels have none."""
    counting = reader.bits(5)
    full = reader.flag()
    reader.flag()  # discontinuity_flag
    dropped = reader.flag()  # cnt_dropped_flag; some encoders set it in every picture of a drop frame stream
    frames = reader.bits(frame_bits)
    seconds = minutes = hours = None
    if full:
        seconds, minutes, hours = reader.bits(6), reader.bits(6), reader.bits(5)
    elif reader.flag():
        seconds = reader.bits(6)
        if reader.flag():
            minutes = reader.bits(6)
            if reader.flag():
                hours = reader.bits(5)
    return ClockTime(frames, seconds, minutes, hours, dropped or counting == _DROPS_TWO)
