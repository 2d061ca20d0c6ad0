"""H.264 and HEVC parameter sets: splitting byte streams, reading sizes, and the avcC and hvcC records.

Sources: ITU-T H.264 (7.3.2.1.1, annex E), ITU-T H.265 (7.3.2.2), ISO/IEC 14496-15 (5.3.3.1, 8.3.3.1).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Literal

from shared.media.bitstream.bit_reader import BitReader, unescape
from shared.media.mp4.boxes import Mp4Error, unpack

VideoCodec = Literal["h264", "hevc"]

H264_SPS, H264_PPS = 7, 8
HEVC_VPS, HEVC_SPS, HEVC_PPS = 32, 33, 34
# Profiles whose SPS has a chroma format, and whose avcC ends with it (H.264 7.3.2.1.1).
HIGH_PROFILES = frozenset((44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 144, 244))
# Table E-1, sample aspect ratios by aspect_ratio_idc.
ASPECTS = ((0, 0), (1, 1), (12, 11), (10, 11), (16, 11), (40, 33), (24, 11), (20, 11), (32, 11), (80, 33),
           (18, 11), (15, 11), (64, 33), (160, 99), (4, 3), (3, 2), (2, 1))  # fmt: skip


MAX_DEPTH = 16  # H.264 7.4.2.1.1 (14), H.265 7.4.3.2.1
MAX_SET = 0xFFFF  # bytes: a record stores it in 16 bits


@dataclass(frozen=True, slots=True)
class PictureOrder:
    """Widths and kinds of the slice fields that identify a picture (H.264 7.3.3, H.265 7.3.6.1).

    `kind` is H.264's pic_order_cnt_type; `poc_bits` is 0 when slices have no picture order count.
    """

    frame_bits: int = 0
    kind: int = 0
    poc_bits: int = 0
    fixed: bool = False
    frames_only: bool = True
    planes: bool = False


@dataclass(frozen=True, slots=True)
class PictureFormat:
    """An SPS's description of the picture: cropped size in pixels, sample aspect, chroma and depth.

    `order`: how slices identify their picture.
    """

    width: int
    height: int
    aspect: tuple[int, int] = (1, 1)
    chroma: int = 1
    depth_luma: int = 8
    depth_chroma: int = 8
    layers: int = 1
    nested: bool = True
    order: PictureOrder = PictureOrder()


def split_annexb(data: bytes) -> list[bytes]:
    """Split a byte stream with start codes (annex B) into NAL units, without their trailing zeros."""
    nals = []
    at = data.find(b"\0\0\1")
    while at >= 0:
        following = data.find(b"\0\0\1", at + 3)
        nal = data[at + 3 : following if following >= 0 else len(data)].rstrip(b"\0")
        if nal:
            nals.append(nal)
        at = following
    return nals


def nal_type(codec: VideoCodec, nal: bytes) -> int:
    """Return a NAL unit's type."""
    return nal[0] & 0x1F if codec == "h264" else (nal[0] >> 1) & 0x3F


def set_types(codec: VideoCodec) -> tuple[int, ...]:
    """Return the NAL unit types of parameter sets, in a record's order."""
    return (H264_SPS, H264_PPS) if codec == "h264" else (HEVC_VPS, HEVC_SPS, HEVC_PPS)


def set_id(codec: VideoCodec, nal: bytes) -> int:
    """Read a parameter set's own id; Mp4Error when it is too short."""
    if len(nal) < 2:
        raise Mp4Error("NAL unit is too short")
    kind = nal_type(codec, nal)
    if kind == H264_SPS and codec == "h264":
        return BitReader(unescape(nal[4:16])).ue()
    if kind == HEVC_VPS and codec == "hevc":
        return BitReader(nal[2:3]).bits(4)
    if kind == HEVC_SPS and codec == "hevc":
        reader = BitReader(unescape(nal[2:120]))
        _hevc_profile(reader)
        return reader.ue()
    return BitReader(unescape(nal[1 if codec == "h264" else 2 :][:16])).ue()


def read_sps(codec: VideoCodec, sps: bytes) -> PictureFormat:
    """Read the picture's size and format from an SPS; Mp4Error when it makes no sense."""
    picture = _h264_sps(sps) if codec == "h264" else _hevc_sps(sps)
    if not (0 < picture.width <= 16384 and 0 < picture.height <= 16384):
        raise Mp4Error(f"picture of {picture.width}x{picture.height}")
    if picture.chroma > 3 or max(picture.depth_luma, picture.depth_chroma) > MAX_DEPTH:
        raise Mp4Error("picture of an unknown format")
    return picture


def _skip_scaling_lists(reader: BitReader, chroma: int) -> None:
    for index in range(12 if chroma == 3 else 8):
        if not reader.flag():
            continue
        last = following = 8
        for _ in range(16 if index < 6 else 64):
            if following:
                following = (last + reader.se()) % 256
            last = following or last


def _h264_sps(sps: bytes) -> PictureFormat:
    if len(sps) < 4:
        raise Mp4Error("SPS is too short")
    reader = BitReader(unescape(sps[4:1024]))
    reader.ue()  # seq_parameter_set_id
    chroma, luma_depth, chroma_depth, planes = 1, 8, 8, False
    if sps[1] in HIGH_PROFILES:
        chroma = reader.ue()
        planes = reader.flag() if chroma == 3 else False
        luma_depth, chroma_depth = 8 + reader.ue(), 8 + reader.ue()
        reader.flag()
        if reader.flag():
            _skip_scaling_lists(reader, chroma)
    frame_bits = 4 + reader.ue()  # log2_max_frame_num
    kind, poc_bits, fixed = _order_count(reader)
    reader.ue()  # max_num_ref_frames
    reader.flag()
    width, units = (reader.ue() + 1) * 16, reader.ue() + 1
    frames_only = reader.flag()
    if not frames_only:
        reader.flag()
    height = units * 16 * (1 if frames_only else 2)
    reader.flag()  # direct_8x8_inference
    step_x = 1 if chroma in (0, 3) or planes else 2
    step_y = (2 if chroma == 1 and not planes else 1) * (1 if frames_only else 2)
    if reader.flag():
        width -= (reader.ue() + reader.ue()) * step_x
        height -= (reader.ue() + reader.ue()) * step_y
    aspect = _aspect(reader) if reader.left and reader.flag() else (1, 1)
    order = PictureOrder(frame_bits, kind, poc_bits, fixed, frames_only, planes)
    return PictureFormat(width, height, aspect, chroma, luma_depth, chroma_depth, order=order)


def _order_count(reader: BitReader) -> tuple[int, int, bool]:
    """Read how pictures are ordered: (pic_order_cnt_type, bits of the count in slices, no differences in slices)."""
    kind = reader.ue()
    fixed = False
    if kind == 0:
        return kind, 4 + reader.ue(), fixed
    if kind == 1:
        fixed = reader.flag()
        reader.se()
        reader.se()
        for _ in range(min(reader.ue(), 255)):
            reader.se()
    return kind, 0, fixed


def _aspect(reader: BitReader) -> tuple[int, int]:
    if not reader.flag():
        return (1, 1)
    index = reader.bits(8)
    aspect = (reader.bits(16), reader.bits(16)) if index == 255 else ASPECTS[index % len(ASPECTS)]
    return aspect if all(aspect) else (1, 1)


def _hevc_profile(reader: BitReader) -> tuple[int, bool]:
    """Read the head of an HEVC SPS and skip profile_tier_level: (temporal layers, nesting)."""
    reader.bits(4)
    layers = reader.bits(3)
    nested = reader.flag()
    reader.bits(96)  # general profile, constraint flags and level
    present = [(reader.flag(), reader.flag()) for _ in range(layers)]
    if layers:
        reader.bits(2 * (8 - layers))
    for profile, level in present:
        reader.bits(88 * profile + 8 * level)
    return layers + 1, nested


def _hevc_sps(sps: bytes) -> PictureFormat:
    reader = BitReader(unescape(sps[2:1024]))
    layers, nested = _hevc_profile(reader)
    reader.ue()  # sps_seq_parameter_set_id
    chroma = reader.ue()
    planes = reader.flag() if chroma == 3 else False
    width, height = reader.ue(), reader.ue()
    if reader.flag():
        step_x = 2 if chroma in (1, 2) and not planes else 1
        step_y = 2 if chroma == 1 and not planes else 1
        width -= (reader.ue() + reader.ue()) * step_x
        height -= (reader.ue() + reader.ue()) * step_y
    luma_depth, chroma_depth = 8 + reader.ue(), 8 + reader.ue()
    order = PictureOrder(poc_bits=4 + reader.ue(), planes=planes)
    return PictureFormat(width, height, (1, 1), chroma, luma_depth, chroma_depth, layers, nested, order)


def build_avcc(sets: list[bytes]) -> bytes:
    """Build an avcC record of 4-byte lengths from SPS and PPS units, the main SPS first."""
    seqs = [nal for nal in sets if nal_type("h264", nal) == H264_SPS]
    pics = [nal for nal in sets if nal_type("h264", nal) == H264_PPS]
    if not seqs or not pics or len(seqs[0]) < 4 or len(seqs) > 31 or len(pics) > 255:
        raise Mp4Error("H.264 needs an SPS and a PPS")
    _check_sizes(sets)
    out = [b"\1", seqs[0][1:4], b"\xff", bytes([0xE0 | len(seqs)])]
    out += [struct.pack(">H", len(nal)) + nal for nal in seqs]
    out.append(bytes([len(pics)]))
    out += [struct.pack(">H", len(nal)) + nal for nal in pics]
    if seqs[0][1] in HIGH_PROFILES:
        picture = read_sps("h264", seqs[0])
        out.append(bytes([0xFC | picture.chroma, 0xF8 | picture.depth_luma - 8, 0xF8 | picture.depth_chroma - 8, 0]))
    return b"".join(out)


def build_hvcc(sets: list[bytes]) -> bytes:
    """Build an hvcC record of 4-byte lengths from VPS, SPS and PPS units, complete in the record."""
    by_type = {kind: [nal for nal in sets if nal_type("hevc", nal) == kind] for kind in set_types("hevc")}
    if not all(by_type.values()):
        raise Mp4Error("HEVC needs a VPS, an SPS and a PPS")
    _check_sizes(sets)
    sps = by_type[HEVC_SPS][0]
    picture = read_sps("hevc", sps)
    general = unescape(sps[:32])[3:15]
    out = [b"\1", general, struct.pack(
        ">HBBBBHBB", 0xF000, 0xFC, 0xFC | picture.chroma, 0xF8 | picture.depth_luma - 8,
        0xF8 | picture.depth_chroma - 8, 0, picture.layers << 3 | picture.nested << 2 | 3, len(by_type))]  # fmt: skip
    for kind, nals in by_type.items():
        out.append(struct.pack(">BH", 0x80 | kind, len(nals)))
        out += [struct.pack(">H", len(nal)) + nal for nal in nals]
    return b"".join(out)


def _check_sizes(sets: list[bytes]) -> None:
    if len(sets) > MAX_SET or any(len(nal) > MAX_SET for nal in sets):
        raise Mp4Error("parameter set is too long")


def record_sets(codec: VideoCodec, record: bytes) -> list[bytes]:
    """Return the parameter sets in an avcC or hvcC record, in its order; Mp4Error on garbage."""
    end = len(record)
    nals: list[bytes] = []
    if codec == "h264":
        at = _take(record, 6, unpack("B", record, 5, end)[0] & 0x1F, nals)
        _take(record, at + 1, unpack("B", record, at, end)[0], nals)
        return nals
    at = 23
    for _ in range(unpack("B", record, 22, end)[0]):
        at = _take(record, at + 3, unpack("xH", record, at, end)[0], nals)
    return [nal for nal in nals if nal_type(codec, nal) in set_types(codec)]


def _take(record: bytes, at: int, count: int, into: list[bytes]) -> int:
    """Append `count` units with 16-bit lengths from `at` on; return the offset after them."""
    for _ in range(count):
        size = unpack("H", record, at, len(record))[0]
        if size < 2 or at + 2 + size > len(record):
            raise Mp4Error("parameter set is cut short")
        into.append(bytes(record[at + 2 : at + 2 + size]))
        at += 2 + size
    return at


def length_size(codec: VideoCodec, record: bytes) -> int:
    """Return how many bytes a sample's NAL unit lengths take: 1, 2 or 4."""
    return (unpack("B", record, 4 if codec == "h264" else 21, len(record))[0] & 3) + 1
