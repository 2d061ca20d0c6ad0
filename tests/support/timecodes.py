"""Streams with timecodes: real encodes into whose pictures SEI messages are put, as hardware encoders do.

FFmpeg's encoders write no clock timestamps, so the messages are written here; FFmpeg's decoder reads them back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import av

from services.ingester.recorder.sei_clock import PICTURE_TIMING, TIME_CODE
from shared.media.bitstream.bit_writer import BitWriter, escape
from shared.media.bitstream.h264_sps import PictureTiming, parse_h264_sps
from shared.media.bitstream.nal import join_sample, sei_type, split_sample
from shared.media.bitstream.params import H264_SPS, nal_type, record_sets
from shared.media.timecode import Label
from tests.support.framecode_record import Spec, encode

VideoCodec = Literal["h264", "hevc"]
DROPS_TWO = 4
SLICES = {"h264": range(1, 6), "hevc": range(32)}
PLAIN = PictureTiming(structure=True)
"""x264's picture timing with pic-struct=1 and without HRD."""


class Clock(NamedTuple):
    """A clock timestamp to write; `parts`: which of seconds, minutes and hours are coded, all for a full one."""

    label: Label
    counting: int = 0
    parts: int = 3
    full: bool = True
    dropped: bool = False


def write_clock(out: BitWriter, clock: Clock, frame_bits: int) -> None:
    """Write what H.264 and HEVC have in common: from counting_type to the hours."""
    hours, minutes, seconds, frames, drop = clock.label
    out.bits(DROPS_TWO if drop and not clock.counting else clock.counting, 5)
    out.flag(value=clock.full)
    out.flag(value=False)  # discontinuity_flag
    out.flag(value=clock.dropped)
    out.bits(frames, frame_bits)
    for index, (value, bits) in enumerate(((seconds, 6), (minutes, 6), (hours, 5))):
        if not clock.full:
            out.flag(value=index < clock.parts)
        if not clock.full and index >= clock.parts:
            return
        out.bits(value, bits)


def pic_timing(clocks: list[Clock | None], structure: int = 0, timing: PictureTiming = PLAIN) -> bytes:
    """Return an H.264 SEI unit of one picture timing message (D.1.3)."""
    out = BitWriter()
    out.bits(0, timing.delays)
    if timing.structure:
        out.bits(structure, 4)
        for clock in clocks:
            out.flag(value=clock is not None)
            if clock is not None:
                out.bits(0, 2)  # ct_type: progressive
                out.flag(value=False)  # nuit_field_based_flag
                write_clock(out, clock, 8)
                out.bits(0, timing.offset)
    return sei("h264", PICTURE_TIMING, payload_of(out))


def time_code(clocks: list[Clock | None]) -> bytes:
    """Return an HEVC SEI unit of one time code message (D.2.27)."""
    out = BitWriter()
    out.bits(len(clocks), 2)
    for clock in clocks:
        out.flag(value=clock is not None)
        if clock is not None:
            out.flag(value=False)  # units_field_based_flag
            write_clock(out, clock, 9)
            out.bits(0, 5)  # time_offset_length
    return sei("hevc", TIME_CODE, payload_of(out))


def payload_of(out: BitWriter) -> bytes:
    """Return an SEI payload: with a stop bit, unless it ends with a byte (D.1)."""
    return out.aligned() if not out._count % 8 else out.payload()


def sei(codec: VideoCodec, kind: int, payload: bytes, *, size: int | None = None) -> bytes:
    """Return an SEI unit of one message; `size`: what it claims to be as long as."""
    head = b"\x06" if codec == "h264" else b"\x4e\x01"
    size = len(payload) if size is None else size
    body = b"\xff" * (kind // 255) + bytes((kind % 255,)) + b"\xff" * (size // 255) + bytes((size % 255,)) + payload
    return head + escape(body + b"\x80")


def clock_unit(codec: VideoCodec, label: Label, timing: PictureTiming = PLAIN) -> bytes:
    """Return an SEI unit with one full timestamp."""
    return pic_timing([Clock(label)], timing=timing) if codec == "h264" else time_code([Clock(label)])


LabelOf = Callable[[int], Label | bytes | None]
"""Returns the label of the n-th picture in display order, or a whole SEI unit, or None."""


def labelled(spec: Spec, label_of: LabelOf, out: Path) -> Path:
    """Encode `spec`, put labels into its pictures, and write it in the format of the file's name."""
    codec: VideoCodec = "hevc" if spec.codec == "hevc" else "h264"
    source = out.with_suffix(".plain.mp4")
    encode(spec, source)
    with av.open(str(source)) as plain, av.open(str(out), "w") as made:
        tracks = {stream.index: made.add_stream_from_template(stream) for stream in plain.streams}
        timing = _timing(bytes(plain.streams.video[0].codec_context.extradata or b"")) if codec == "h264" else PLAIN
        first = min(int(p.pts) for p in _packets(source))
        for packet in plain.demux():
            if packet.dts is None or packet.pts is None:
                continue
            track = tracks[packet.stream.index]
            if packet.stream.type == "video":
                number = round((packet.pts - first) * packet.time_base * spec.rate)
                made.mux(_with_unit(packet, codec, label_of(number), timing, track))
                continue
            packet.stream = track
            made.mux(packet)
    source.unlink()
    return out


def _timing(record: bytes) -> PictureTiming:
    """Return the widths that the SPS states, which FFmpeg's decoder goes by too."""
    sps = next(nal for nal in record_sets("h264", record) if nal_type("h264", nal) == H264_SPS)
    return parse_h264_sps(sps).timing


def _packets(source: Path) -> Iterator[av.Packet]:
    with av.open(str(source)) as container:
        for packet in container.demux(video=0):
            if packet.pts is not None:
                yield packet


def _with_unit(
    packet: av.Packet, codec: VideoCodec, told: Label | bytes | None, timing: PictureTiming, track: av.VideoStream
) -> av.Packet:
    nals = [nal for nal in split_sample(bytes(packet), 4) if codec == "hevc" or sei_type(codec, nal) != PICTURE_TIMING]
    if told is not None:
        unit = clock_unit(codec, told, timing) if isinstance(told, Label) else told
        kinds = [nal[0] & 0x1F if codec == "h264" else nal[0] >> 1 & 0x3F for nal in nals]
        at = next(index for index, kind in enumerate(kinds) if kind in SLICES[codec])
        nals.insert(at, unit)
    changed = av.Packet(join_sample(nals, 4))
    changed.pts, changed.dts, changed.time_base = packet.pts, packet.dts, packet.time_base
    changed.is_keyframe, changed.stream = packet.is_keyframe, track
    return changed


def decoded(path: Path) -> list[str | None]:
    """Return the timecodes that FFmpeg's decoder finds, in display order, as its S12M side data tells them."""
    found: list[str | None] = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            data = next((bytes(d) for d in frame.side_data if d.type.name == "S12M_TIMECODE"), None)
            found.append(None if data is None else _smpte(int.from_bytes(data[4:8], "little")))
    return found


def _smpte(word: int) -> str:
    """Read a binary coded decimal timecode (av_timecode_get_smpte)."""
    parts = [
        (word >> shift & 0xF) + 10 * (word >> shift + 4 & mask) for shift, mask in ((0, 3), (8, 7), (16, 7), (24, 3))
    ]
    mark = ";" if word >> 30 & 1 else ":"
    return "{:02}:{:02}:{:02}{}{:02}".format(*parts[:3], mark, parts[3])
