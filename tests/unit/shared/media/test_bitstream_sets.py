"""Parameter sets and slices of real encoders, rewritten and decoded again."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
from av.codec.context import Flags
from hypothesis import given
from hypothesis import strategies as st

from shared.media.bitstream.bit_reader import BitReader, unescape
from shared.media.bitstream.bit_writer import BitWriter, escape
from shared.media.bitstream.errors import BitstreamError
from shared.media.bitstream.h264_sps import join_h264_sps, parse_h264_sps
from shared.media.bitstream.hevc_sets import (
    free_ids,
    join_hevc_sps,
    parse_hevc_sps,
    renumber_hevc_pps,
    renumber_hevc_slice,
)
from shared.media.bitstream.nal import (
    RandomAccess,
    break_link,
    encoder_nals,
    entry_of,
    is_slice,
    join_sample,
    split_sample,
)
from shared.media.bitstream.params import nal_type, read_sps, set_id, split_annexb

LOOK = "colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc"


def _encode(encoder: str, options: dict[str, str], pixels: str = "yuv420p") -> tuple[list[bytes], list[bytes]]:
    """Encode a few moving pictures: parameter sets and samples in annex B."""
    context = av.CodecContext.create(encoder, "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height, context.pix_fmt = 192, 108, pixels
    context.framerate, context.time_base = Fraction(25), Fraction(1, 25)
    context.options = options
    context.flags |= Flags.global_header
    packets: list[bytes] = []
    for number in range(12):
        lines, columns = np.mgrid[0:162, 0:192]
        picture = ((lines * 2 + columns * 3 + number * 9) % 200 + 20).astype(np.uint8)
        frame = av.VideoFrame.from_ndarray(picture, format="yuv420p").reformat(format=pixels)
        frame.pts = number
        packets += [bytes(packet) for packet in context.encode(frame)]
    packets += [bytes(packet) for packet in context.encode(None)]
    return split_annexb(bytes(context.extradata or b"")), packets


def _decode(codec: str, sets: list[bytes], samples: list[list[bytes]]) -> list[bytes]:
    decoder = av.CodecContext.create(codec, "r")
    assert isinstance(decoder, av.VideoCodecContext)
    decoder.options = {"err_detect": "explode"}
    frames: list[bytes] = []
    for number, nals in enumerate(samples):
        units = [*sets, *nals] if number == 0 else nals
        shown = decoder.decode(av.Packet(b"".join(b"\0\0\0\1" + nal for nal in units)))
        frames += [frame.to_ndarray().tobytes() for frame in shown]
    return [*frames, *(frame.to_ndarray().tobytes() for frame in decoder.decode(None))]


@given(st.lists(st.integers(0, 4), max_size=40).map(bytes))
def test_escaping_is_undone(payload: bytes) -> None:
    nal = b"\x67" + payload + b"\x80"
    escaped = escape(nal)
    assert unescape(escaped) == nal
    assert not any(mark in escaped for mark in (b"\0\0\0", b"\0\0\1", b"\0\0\2"))


@given(st.lists(st.integers(0, 2**20), max_size=20))
def test_written_numbers_are_read_back(numbers: list[int]) -> None:
    writer = BitWriter()
    for number in numbers:
        writer.ue(number)
    reader = BitReader(writer.payload())
    assert [reader.ue() for _ in numbers] == numbers
    assert reader.flag()


@given(st.lists(st.binary(min_size=1, max_size=30), max_size=5))
def test_samples_split_as_they_were_joined(nals: list[bytes]) -> None:
    assert split_sample(join_sample(nals, 4), 4) == nals


def test_sample_with_a_wrong_length_is_refused() -> None:
    with pytest.raises(BitstreamError):
        split_sample(b"\0\0\0\x09abc", 4)
    with pytest.raises(BitstreamError):
        join_sample([bytes(300)], 1)


def test_h264_sps_takes_over_limits_and_colour() -> None:
    theirs = "ref=5:bframes=5:b-pyramid=normal:sar=4/3:range=pc:nal-hrd=vbr:vbv-maxrate=900:vbv-bufsize=900:" + LOOK
    source, _ = _encode("libx264", {"x264-params": theirs})
    own, packets = _encode("libx264", {"preset": "veryfast", "x264-params": "sps-id=3:ref=2:bframes=1"})
    like = parse_h264_sps(source[0])
    joined = join_h264_sps(own[0], like, 2)
    made = parse_h264_sps(joined)
    assert (made.set_id, made.look, made.level) == (3, like.look, max(like.level, parse_h264_sps(own[0]).level))
    assert (made.reorder, made.dpb) == (max(like.reorder or 0, 2), like.dpb)
    assert read_sps("h264", joined).aspect == (4, 3)
    samples = [encoder_nals("h264", split_annexb(packet)) for packet in packets]
    assert _decode("h264", [joined, own[1]], samples) == _decode("h264", own, samples)


def test_h264_sps_without_vui_counts_the_buffer_by_its_level() -> None:
    """Level 3.1 holds 18000 macroblocks; 1280x720 has 3600 of them (table A-1)."""
    writer = BitWriter()
    writer.bits(0x67, 8)
    writer.bits(66, 8)
    writer.bits(0xC0, 8)
    writer.bits(31, 8)
    for number in (0, 0, 2, 1):  # id, frame number bits, order count type, references
        writer.ue(number)
    writer.flag(value=False)
    writer.ue(79)
    writer.ue(44)
    for flag in (True, True, False, False):
        writer.flag(value=flag)
    like = parse_h264_sps(escape(writer.payload()))
    assert (like.dpb, like.effective_dpb, like.macroblocks) == (None, 5, 3600)
    own, _ = _encode("libx264", {"profile": "baseline", "x264-params": "sps-id=1"})
    made = parse_h264_sps(join_h264_sps(own[0], like, 0))
    assert (made.profile, made.reorder, made.dpb, made.look) == (66, 0, 5, (0, 5))


def test_cut_short_sps_is_an_error() -> None:
    own, _ = _encode("libx264", {})
    for end in range(1, 8):
        with pytest.raises(Exception, match=r"short|ends|long"):
            parse_h264_sps(own[0][:end])


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv420p10le", "yuv422p10le"])
@pytest.mark.parametrize("options", ["wpp=1:slices=2:weightp=1", "wpp=0:bframes=4:b-pyramid=1"])
def test_hevc_pictures_decode_alike_under_other_ids(pixels: str, options: str) -> None:
    common = "log-level=none:open-gop=0:keyint=6:"
    sets, packets = _encode("libx265", {"preset": "superfast", "x265-params": common + options}, pixels)
    source, _ = _encode("libx265", {"x265-params": f"{common}bframes=6:ref=5:{LOOK}:range=full:sar=14"}, pixels)
    by_type = {nal_type("hevc", nal): nal for nal in sets}
    like = parse_hevc_sps(next(nal for nal in source if nal_type("hevc", nal) == 33))
    sps_id, pps_id = free_ids(source)
    sps = join_hevc_sps(by_type[33], like, sps_id, 3)
    pps = renumber_hevc_pps(by_type[34], pps_id, sps_id)
    made = parse_hevc_sps(sps)
    assert (made.set_id, set_id("hevc", sps), set_id("hevc", pps)) == (sps_id, sps_id, pps_id)
    assert (made.look, made.profile) == (like.look, like.profile)
    assert made.limits[0] >= like.limits[0]
    assert made.limits[1] >= max(like.limits[1], 3)
    plain = [encoder_nals("hevc", split_annexb(packet)) for packet in packets]
    moved = [[renumber_hevc_slice(nal, pps_id) if is_slice("hevc", nal) else nal for nal in nals] for nals in plain]
    assert moved != plain
    assert _decode("hevc", [by_type[32], sps, pps], moved) == _decode("hevc", sets, plain)


def test_hevc_ids_that_are_used_are_not_chosen() -> None:
    sets, packets = _encode("libx265", {"x265-params": "log-level=none"})
    by_type = {nal_type("hevc", nal): nal for nal in sets}
    like = parse_hevc_sps(by_type[33])
    taken = [join_hevc_sps(by_type[33], like, n, 0) for n in (1, 2)]
    taken += [renumber_hevc_pps(by_type[34], n, 0) for n in (15, 16, 17)]
    assert free_ids([*sets, *taken]) == (3, 18)
    with pytest.raises(BitstreamError):
        free_ids(renumber_hevc_pps(by_type[34], n, 0) for n in range(64))
    piece = next(nal for nal in split_annexb(packets[0]) if is_slice("hevc", nal))
    with pytest.raises(BitstreamError):
        renumber_hevc_slice(renumber_hevc_slice(piece, 15), 16)
    with pytest.raises(BitstreamError):
        renumber_hevc_slice(piece, 3)


def test_entries_are_told_apart() -> None:
    assert entry_of("h264", [b"\x09\x10", b"\x65\x88"]) is RandomAccess.CLEAN
    assert entry_of("h264", [b"\x06\x06\x01\xc4\x80", b"\x41\x9a"]) is RandomAccess.RECOVERY
    assert entry_of("hevc", [b"\x46\x01\x50", bytes((19 << 1, 1, 0x80))]) is RandomAccess.CLEAN
    assert entry_of("hevc", [bytes((21 << 1, 1, 0x80))]) is RandomAccess.LEADING
    assert entry_of("hevc", [bytes((1 << 1, 1, 0x80))]) is RandomAccess.NONE
    assert entry_of("h264", []) is RandomAccess.NONE
    broken = break_link([bytes((21 << 1, 1, 0x80)), b"\x4e\x01\x05"])
    assert entry_of("hevc", broken) is RandomAccess.CLEAN
    assert broken[1] == b"\x4e\x01\x05"
