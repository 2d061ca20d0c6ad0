"""HEVC parameter sets and slices: rewriting an encoder's output with new ids and the joined stream's limits.

x265 always uses id 0. Here its SPS gets a free id and refers to the joined stream's VPS; its PPS gets an id of
15 to 30, whose Exp-Golomb code has 9 bits, while id 0 has 1. So a slice header with the new id grows by exactly one
byte: all that follows keeps its alignment, and only the first bits of a slice header need to be parsed.

Source: ITU-T H.265, 7.3.2.2 (SPS), 7.3.2.3 (PPS), 7.3.6.1 (slice segment header), E.2.1 (VUI).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from shared.media.bitstream.bit_reader import BitReader, unescape
from shared.media.bitstream.bit_writer import BitWriter, bits_between, escape, stop_bit_left
from shared.media.bitstream.errors import BitstreamError
from shared.media.bitstream.h264_sps import skip_look
from shared.media.bitstream.params import HEVC_PPS, HEVC_SPS, nal_type

NINE_BIT_IDS = range(15, 31)
_IRAP = range(16, 24)


@dataclass(frozen=True, slots=True)
class HevcSps:
    """The fields of an SPS that joining needs; `profile` is the 88 bits of the general profile.

    `limits_at` and `limits_end` bound (in bits) the sub-layer ordering info; `vui_at` is the position of
    vui_parameters_present_flag; `look` and `window` are bits of the VUI as (value, count).
    """

    vps_id: int
    set_id: int
    profile: int
    level: int
    id_at: int
    limits_at: int
    limits_end: int
    limits: tuple[int, int, int]
    vui_at: int
    fields: bool = False
    look: tuple[int, int] = (0, 4)
    neutral: bool = False
    window: tuple[int, int] = (0, 1)
    timing: tuple[int, int] | None = None


def parse_hevc_sps(nal: bytes) -> HevcSps:
    """Read an SPS unit; BitstreamError when it is cut short or uses features that no live encoder uses."""
    payload = unescape(nal)
    reader = BitReader(payload)
    total = reader.left
    reader.bits(16)
    vps_id = reader.bits(4)
    layers = reader.bits(3)
    reader.flag()  # sps_temporal_id_nesting_flag
    profile, level = reader.bits(88), reader.bits(8)
    _skip_layer_profiles(reader, layers)
    id_at = total - reader.left
    set_id = reader.ue()
    _skip_picture(reader)
    poc_bits = reader.ue() + 4
    limits_at = total - reader.left
    limits = _read_limits(reader, layers)
    limits_end = total - reader.left
    _skip_tools(reader)
    _skip_references(reader, poc_bits)
    reader.bits(2)  # temporal MVP, strong intra smoothing
    vui_at = total - reader.left
    head = (vps_id, set_id, profile, level, id_at, limits_at, limits_end, limits, vui_at)
    return _with_vui(head, reader, payload) if reader.flag() else HevcSps(*head)


def join_hevc_sps(ours: bytes, theirs: HevcSps, set_id: int, reorder: int) -> bytes:
    """Rewrite an encoder's SPS with `set_id`, the VPS, profile, level, buffer limits and colour of `theirs`.

    `reorder` is the larger reorder depth of the two streams. BitstreamError when the encoder used temporal layers.
    """
    own = parse_hevc_sps(ours)
    reader = BitReader(unescape(ours))
    out = BitWriter()
    out.copy(reader, 16)
    out.bits(theirs.vps_id, 4)
    reader.bits(4)
    if reader.bits(3):
        raise BitstreamError("encoder made temporal layers")
    out.bits(0, 3)
    out.copy(reader, 1)
    same = (own.profile >> 80) & 0x1F == (theirs.profile >> 80) & 0x1F  # general_profile_idc
    out.bits(theirs.profile if same else own.profile, 88)
    out.bits(max(own.level, theirs.level), 8)
    reader.bits(96)
    out.ue(set_id)
    reader.ue()
    out.copy(reader, own.limits_at - (own.id_at + _ue_size(own.set_id)))
    buffering, depth, _ = (max(pair) for pair in zip(own.limits, theirs.limits, strict=True))
    depth = max(depth, reorder)
    latency = theirs.limits[2] if theirs.limits[2] >= own.limits[2] else 0
    out.flag(value=True)
    for number in (max(buffering, depth), depth, latency):
        out.ue(number)
    reader.bits(own.limits_end - own.limits_at)
    out.copy(reader, own.vui_at - own.limits_end)
    _write_vui(out, theirs)
    out.flag(value=False)  # sps_extension_present_flag
    return escape(out.payload())


def renumber_hevc_pps(ours: bytes, pps_id: int, sps_id: int) -> bytes:
    """Rewrite a PPS's own id and the SPS id that it refers to."""
    payload = unescape(ours)
    reader = BitReader(payload)
    out = BitWriter()
    out.copy(reader, 16)
    reader.ue()
    reader.ue()
    out.ue(pps_id)
    out.ue(sps_id)
    out.copy(reader, reader.left - stop_bit_left(payload))
    return escape(out.payload())


def renumber_hevc_slice(nal: bytes, pps_id: int) -> bytes:
    """Change a slice's PPS id from 0 to `pps_id` (one of NINE_BIT_IDS); BitstreamError for another PPS."""
    payload = unescape(nal)
    lead = 2 if nal_type("hevc", nal) in _IRAP else 1  # first_slice_segment_in_pic_flag, no_output_of_prior_pics_flag
    if pps_id not in NINE_BIT_IDS or not payload[2] >> (7 - lead) & 1:
        raise BitstreamError("slice names another PPS than 0")
    kept = 7 - lead  # bits of the first byte after the id
    first = payload[2] >> (8 - lead)
    word = (first << 9 | pps_id + 1) << kept | payload[2] & ((1 << kept) - 1)
    return escape(payload[:2] + word.to_bytes(2, "big") + payload[3:])


def free_ids(nals: Iterable[bytes]) -> tuple[int, int]:
    """Find an SPS id and a nine-bit PPS id that none of the parameter sets `nals` uses."""
    seqs, pics = set(), set()
    for nal in nals:
        if nal_type("hevc", nal) == HEVC_SPS:
            seqs.add(parse_hevc_sps(nal).set_id)
        elif nal_type("hevc", nal) == HEVC_PPS:
            pics.add(BitReader(unescape(nal[2:18])).ue())
    sps = next((number for number in range(1, 16) if number not in seqs), None)
    pps = next((number for number in NINE_BIT_IDS if number not in pics), None)
    if sps is None or pps is None:
        raise BitstreamError("stream uses all parameter set ids")
    return sps, pps


def _ue_size(number: int) -> int:
    return 2 * (number + 1).bit_length() - 1


def _skip_layer_profiles(reader: BitReader, layers: int) -> None:
    present = [(reader.flag(), reader.flag()) for _ in range(layers)]
    if layers:
        reader.bits(2 * (8 - layers))
    for profile, level in present:
        reader.bits(88 * profile + 8 * level)


def _skip_picture(reader: BitReader) -> None:
    if reader.ue() == 3:
        reader.flag()
    reader.ue()
    reader.ue()
    if reader.flag():
        for _ in range(4):
            reader.ue()  # conformance window
    reader.ue()
    reader.ue()


def _read_limits(reader: BitReader, layers: int) -> tuple[int, int, int]:
    """Read (max_dec_pic_buffering_minus1, max_num_reorder, max_latency_increase_plus1) of the highest layer."""
    limits = (0, 0, 0)
    for _ in range(layers + 1 if reader.flag() else 1):
        limits = (reader.ue(), reader.ue(), reader.ue())
    return limits


def _skip_tools(reader: BitReader) -> None:
    for _ in range(6):
        reader.ue()  # block and transform sizes
    if reader.flag() and reader.flag():
        _skip_scaling_lists(reader)
    reader.bits(2)  # AMP, SAO
    if reader.flag():
        reader.bits(8)
        reader.ue()
        reader.ue()
        reader.flag()


def _skip_scaling_lists(reader: BitReader) -> None:
    for size in range(4):
        for _ in range(0, 6, 3 if size == 3 else 1):
            if not reader.flag():
                reader.ue()
                continue
            if size > 1:
                reader.se()
            for _ in range(min(64, 1 << (4 + 2 * size))):
                reader.se()


def _skip_references(reader: BitReader, poc_bits: int) -> None:
    """Skip the short-term and long-term reference picture sets (7.3.7)."""
    count = reader.ue()
    if count > 64:
        raise BitstreamError("SPS claims more than 64 reference picture sets")
    sizes: list[int] = []
    for index in range(count):
        if index and reader.flag():
            reader.flag()
            reader.ue()
            kept = 0
            for _ in range(sizes[-1] + 1):
                kept += int(reader.flag() or reader.flag())  # used_by_curr_pic_flag, or use_delta_flag
            sizes.append(kept)
            continue
        negative, positive = reader.ue(), reader.ue()
        if negative + positive > 32:
            raise BitstreamError("reference picture set is too large")
        for _ in range(negative + positive):
            reader.ue()
            reader.flag()
        sizes.append(negative + positive)
    if reader.flag():
        for _ in range(min(reader.ue(), 32)):
            reader.bits(poc_bits + 1)


def _with_vui(
    head: tuple[int, int, int, int, int, int, int, tuple[int, int, int], int], reader: BitReader, payload: bytes
) -> HevcSps:
    start = reader.left
    skip_look(reader)
    look = bits_between(payload, start, reader.left)
    neutral, fields = reader.flag(), reader.flag()
    reader.flag()  # frame_field_info_present_flag
    start = reader.left
    if reader.flag():
        for _ in range(4):
            reader.ue()  # default display window
    window = bits_between(payload, start, reader.left)
    timing = (reader.bits(32), reader.bits(32)) if reader.flag() else None
    return HevcSps(*head, fields, look, neutral, window, timing)


def _write_vui(out: BitWriter, theirs: HevcSps) -> None:
    out.flag(value=True)
    out.bits(*theirs.look)
    out.flag(value=theirs.neutral)
    out.bits(0, 2)  # no fields, no picture structure SEI
    out.bits(*theirs.window)
    out.flag(value=theirs.timing is not None)
    if theirs.timing is not None:
        out.bits(theirs.timing[0], 32)
        out.bits(theirs.timing[1], 32)
        out.bits(0, 2)  # not proportional to the order count, no HRD
    out.flag(value=False)  # bitstream_restriction_flag
