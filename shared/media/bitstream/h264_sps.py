"""H.264 sequence parameter sets: reading one, and adapting an encoder's to the stream that it joins.

Source: ITU-T H.264, 7.3.2.1.1 (SPS), E.1.1 (VUI), table A-1 (levels).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from shared.media.bitstream.bit_reader import BitReader, unescape
from shared.media.bitstream.bit_writer import BitWriter, bits_between, escape
from shared.media.bitstream.errors import BitstreamError
from shared.media.bitstream.params import HIGH_PROFILES

# Table A-1: MaxDpbMbs by level_idc; an unlisted level takes the next higher one.
_MAX_DPB_MBS = (
    (10, 396), (11, 900), (13, 2376), (20, 2376), (21, 4752), (22, 8100), (30, 8100), (31, 18000), (32, 20480),
    (41, 32768), (42, 34816), (50, 110400), (51, 184320), (52, 184320), (255, 696320),
)  # fmt: skip
# Bits before seq_parameter_set_id: NAL header, profile_idc, constraint flags, level_idc.
_FIXED_HEAD = 32


class PictureTiming(NamedTuple):
    """What an SPS says of picture timing SEI messages, widths in bits (E.1.1, E.1.2, D.1.3).

    `delays`: of the two delays that come first. `structure`: whether pic_struct and clock timestamps follow. `offset`:
    of time_offset, which is 24 where there are no HRD parameters (E.2.2). `unit`: num_units_in_tick and time_scale.
    """

    delays: int = 0
    structure: bool = False
    offset: int = 24
    unit: tuple[int, int] | None = None


UNTOLD = PictureTiming()


@dataclass(frozen=True, slots=True)
class H264Sps:
    """The fields of an SPS that joining needs. `vui_at` is the bit position of vui_parameters_present_flag.

    `look` holds the VUI's bits from aspect ratio to timing as (value, count); `dpb` and `reorder` are in frames,
    None where the SPS leaves them open. `counts`: bits of frame_num, pic_order_cnt_type, bits of pic_order_cnt_lsb;
    `gaps_at` is the bit position of gaps_in_frame_num_value_allowed_flag.
    """

    profile: int
    level: int
    set_id: int
    references: int
    macroblocks: int
    frames_only: bool
    vui_at: int
    look: tuple[int, int] = (0, 5)
    motion: tuple[int, int, int, int, int] = (1, 0, 0, 15, 15)
    reorder: int | None = None
    dpb: int | None = None
    counts: tuple[int, int, int] = (4, 0, 4)
    gaps_at: int = 0
    chroma: int = 1
    planes: bool = False
    timing: PictureTiming = UNTOLD

    @property
    def effective_dpb(self) -> int:
        """Return the frames that a decoder keeps: as signalled, or the level's maximum (A.3.1, MaxDpbFrames)."""
        if self.dpb is not None:
            return self.dpb
        limit = next(mbs for level, mbs in _MAX_DPB_MBS if self.level <= level)
        return max(min(limit // max(self.macroblocks, 1), 16), self.references)


def parse_h264_sps(nal: bytes) -> H264Sps:
    """Read an SPS unit; BitstreamError when it is cut short."""
    payload = unescape(nal)
    if len(payload) < 5:
        raise BitstreamError("SPS is too short")
    reader = BitReader(payload)
    total = reader.left
    reader.bits(_FIXED_HEAD)
    set_id = reader.ue()
    chroma, planes = _read_chroma(reader) if payload[1] in HIGH_PROFILES else (1, False)
    frame_num_bits = reader.ue() + 4
    counts = (frame_num_bits, *_read_picture_order(reader))
    references = reader.ue()
    gaps_at = total - reader.left
    reader.flag()  # gaps_in_frame_num_value_allowed_flag
    macroblocks = (reader.ue() + 1) * (reader.ue() + 1)
    frames_only = reader.flag()
    if not frames_only:
        reader.flag()  # mb_adaptive_frame_field_flag
        macroblocks *= 2
    reader.flag()  # direct_8x8_inference_flag
    if reader.flag():
        for _ in range(4):
            reader.ue()  # frame_crop offsets
    base = H264Sps(
        payload[1], payload[3], set_id, references, macroblocks, frames_only, total - reader.left, counts=counts,
        gaps_at=gaps_at, chroma=chroma, planes=planes,
    )  # fmt: skip
    return _with_vui(base, reader, payload) if reader.flag() else base


def join_h264_sps(ours: bytes, theirs: H264Sps, reorder: int) -> bytes:
    """Rewrite an encoder's SPS `ours` so that a decoder sees no change where it joins the stream of `theirs`.

    Level, colour, aspect, timing and the size of the decoder's picture buffer become those of `theirs` (a
    changed buffer lets a decoder drop pictures not yet shown, C.4.5.3); `reorder` is the larger reorder depth of
    the two.
    """
    own = parse_h264_sps(ours)
    payload = unescape(ours)
    reader = BitReader(payload)
    out = BitWriter()
    out.copy(reader, 8)
    same_syntax = (own.profile in HIGH_PROFILES) == (theirs.profile in HIGH_PROFILES)
    out.bits(theirs.profile if same_syntax and theirs.profile > own.profile else own.profile, 8)
    reader.bits(8)
    out.copy(reader, 8)  # constraint flags are promises: only the encoder can make them
    out.bits(max(own.level, theirs.level), 8)
    reader.bits(8)
    out.copy(reader, own.vui_at - _FIXED_HEAD)
    out.flag(value=True)
    out.bits(*theirs.look)
    out.bits(0b0001, 4)  # no NAL HRD, no VCL HRD, no picture structure SEI; bitstream restriction follows
    out.flag(value=bool(own.motion[0]))
    depth = max(own.reorder or 0, theirs.reorder or 0, reorder)
    for number in (*own.motion[1:], depth, max(own.effective_dpb, theirs.effective_dpb, depth)):
        out.ue(number)
    return escape(out.payload())


def allow_gaps(nal: bytes) -> bytes:
    """Set the SPS flag that allows missing reference pictures: a decoder then skips their numbers (8.2.5.2)."""
    payload = unescape(nal)
    at = parse_h264_sps(nal).gaps_at
    flagged = bytes((payload[at // 8] | 0x80 >> at % 8,))
    return escape(payload[: at // 8] + flagged + payload[at // 8 + 1 :])


def _read_chroma(reader: BitReader) -> tuple[int, bool]:
    """Read high profiles' extra fields: chroma_format_idc, and whether colour planes are coded separately."""
    chroma = reader.ue()
    planes = reader.flag() if chroma == 3 else False
    reader.ue()
    reader.ue()
    reader.flag()
    if not reader.flag():
        return chroma, planes
    for index in range(12 if chroma == 3 else 8):
        if reader.flag():
            _skip_scaling_list(reader, 16 if index < 6 else 64)
    return chroma, planes


def _skip_scaling_list(reader: BitReader, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + reader.se()) % 256
        last = following or last


def _read_picture_order(reader: BitReader) -> tuple[int, int]:
    """Read pic_order_cnt_type, and the number of bits of pic_order_cnt_lsb if present."""
    kind = reader.ue()
    if kind == 0:
        return kind, reader.ue() + 4
    if kind == 1:
        reader.flag()
        reader.se()
        reader.se()
        for _ in range(reader.ue()):
            reader.se()
    return kind, 0


def _read_hrd(reader: BitReader) -> tuple[int, int] | None:
    """Read HRD parameters, if any: the bits of both delays together, and of time_offset (E.1.2)."""
    if not reader.flag():
        return None
    count = reader.ue() + 1
    reader.bits(8)
    for _ in range(min(count, 32)):
        reader.ue()
        reader.ue()
        reader.flag()
    reader.bits(5)  # initial_cpb_removal_delay_length_minus1
    return reader.bits(5) + reader.bits(5) + 2, reader.bits(5)


def _with_vui(base: H264Sps, reader: BitReader, payload: bytes) -> H264Sps:
    start = reader.left
    skip_look(reader)
    unit = None
    if reader.flag():
        unit = (reader.bits(32), reader.bits(32))
        reader.flag()  # fixed_frame_rate_flag
    look = bits_between(payload, start, reader.left)
    hrd = [found for found in (_read_hrd(reader), _read_hrd(reader)) if found]
    if hrd:
        reader.flag()  # low_delay_hrd_flag
    delays, offset = hrd[0] if hrd else (0, 24)
    timing = PictureTiming(delays, reader.flag(), offset, unit)
    motion, reorder, dpb = base.motion, None, None
    if reader.flag():
        motion = (int(reader.flag()), reader.ue(), reader.ue(), reader.ue(), reader.ue())
        reorder, dpb = reader.ue(), reader.ue()
    return replace(base, look=look, motion=motion, reorder=reorder, dpb=dpb, timing=timing)


def skip_look(reader: BitReader) -> None:
    """Skip a VUI's fields from aspect ratio to chroma location, the same in H.264 and HEVC."""
    if reader.flag() and reader.bits(8) == 255:
        reader.bits(32)
    if reader.flag():
        reader.flag()  # overscan_appropriate_flag
    if reader.flag():
        reader.bits(4)  # video_format, full range
        if reader.flag():
            reader.bits(24)  # primaries, transfer, matrix
    if reader.flag():
        reader.ue()
        reader.ue()
