"""Parameter sets of a sample entry: reading them, and adding or replacing them in its avcC or hvcC record.

Source: ISO/IEC 14496-15 (5.3.3.1 avcC, 8.3.3.1 hvcC).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from shared.media.bitstream.errors import BitstreamError
from shared.media.bitstream.h264_sps import allow_gaps
from shared.media.bitstream.params import H264_PPS, H264_SPS, HEVC_SPS, HEVC_VPS, length_size, nal_type, record_sets
from shared.media.mp4.entries import codec_record, with_record
from shared.media.tracks import TrackConfig, VideoCodec, has_nals


def video_codec(config: TrackConfig) -> VideoCodec:
    """Return a video track's codec; BitstreamError for another codec."""
    if has_nals(config.codec):
        return config.codec
    raise BitstreamError(f"{config.codec} is not a video codec of ours")


def sets_of(config: TrackConfig) -> list[bytes]:
    """Return a video track's parameter sets."""
    return record_sets(video_codec(config), codec_record(config))


def length_size_of(config: TrackConfig) -> int:
    """Return how many bytes each NAL unit's length takes in a track's samples."""
    return length_size(video_codec(config), codec_record(config))


def with_sets(config: TrackConfig, sets: Sequence[bytes], *, keep: bool) -> bytes:
    """Return the sample entry with `sets` after its own parameter sets (`keep`) or in place of them.

    An HEVC track's VPS stays unless `sets` have one, because joined pictures refer to it.
    """
    codec = video_codec(config)
    record = codec_record(config)
    kept = record_sets(codec, record)
    if not keep:
        needed = codec == "hevc" and not any(nal_type(codec, nal) == HEVC_VPS for nal in sets)
        kept = [nal for nal in kept if needed and nal_type(codec, nal) == HEVC_VPS]
    sets = [*kept, *sets]
    return with_record(config, _avcc(record, sets) if codec == "h264" else _hvcc(record, sets))


def with_gaps(config: TrackConfig) -> bytes:
    """Return an H.264 sample entry whose parameter sets allow gaps in the numbers of reference pictures."""
    record = codec_record(config)
    sets = [allow_gaps(nal) if nal_type("h264", nal) == H264_SPS else nal for nal in record_sets("h264", record)]
    return with_record(config, _avcc(record, sets))


def _avcc(record: bytes, sets: Sequence[bytes]) -> bytes:
    seqs = [nal for nal in sets if nal_type("h264", nal) == H264_SPS]
    pics = [nal for nal in sets if nal_type("h264", nal) == H264_PPS]
    if not seqs or not pics or len(seqs) > 31 or len(pics) > 255:
        raise BitstreamError(f"avcC cannot hold {len(seqs)} SPS and {len(pics)} PPS")
    out = [record[:1], seqs[0][1:4], record[4:5], bytes((0xE0 | len(seqs),)), *map(_sized, seqs)]
    # The chroma and depth fields of high profiles, after the sets, stay unchanged.
    return b"".join((*out, bytes((len(pics),)), *map(_sized, pics), record[_avcc_sets_end(record) :]))


def _avcc_sets_end(record: bytes) -> int:
    at, counts = 6, [record[5] & 0x1F]
    for index in range(2):
        if index:
            counts.append(record[at])
            at += 1
        for _ in range(counts[index]):
            at += 2 + int.from_bytes(record[at : at + 2], "big")
    return at


def _hvcc(record: bytes, sets: Sequence[bytes]) -> bytes:
    kinds = sorted({nal_type("hevc", nal) for nal in sets})
    if HEVC_SPS not in kinds:
        raise BitstreamError("hvcC without an SPS")
    out = [record[:22], bytes((len(kinds),))]
    for kind in kinds:
        nals = [nal for nal in sets if nal_type("hevc", nal) == kind]
        out.append(struct.pack(">BH", 0x80 | kind, len(nals)))
        out += map(_sized, nals)
    return b"".join(out)


def _sized(nal: bytes) -> bytes:
    return struct.pack(">H", len(nal)) + nal
