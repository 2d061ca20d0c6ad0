"""Sample entries: how stsd describes H.264, HEVC, AAC and Opus, built from codec data and read back.

Sources: ISO/IEC 14496-12 (8.5.2, 12.1.4), 14496-14 (esds), 14496-15 (avc1, hvc1), 14496-3 (1.6.2.1),
"Encapsulation of Opus in ISO Base Media File Format" 0.8.1 (dOps), RFC 7845 (OpusHead).
"""

from __future__ import annotations

import struct
from typing import Literal

from shared.media.bitstream.errors import BitstreamError
from shared.media.bitstream.look import Look, read_look
from shared.media.bitstream.opus import OPUS_RATE, OpusHead
from shared.media.bitstream.params import VideoCodec, build_avcc, build_hvcc, read_sps, record_sets, split_annexb
from shared.media.cenc.entry import unprotected_entry
from shared.media.mp4.aac import read_aac
from shared.media.mp4.boxes import Box, Mp4Error, box, children, full_box, read_header, unpack
from shared.media.tracks import TrackConfig

KINDS: dict[bytes, Literal["h264", "hevc", "aac", "opus"]] = {
    b"avc1": "h264", b"avc3": "h264", b"hvc1": "hevc", b"hev1": "hevc", b"mp4a": "aac", b"Opus": "opus"}  # fmt: skip
VISUAL_BODY, AUDIO_BODY = 78, 28  # bytes of a visual and an audio sample entry before its child boxes


def video_config(codec: VideoCodec, extradata: bytes, timescale: int, track_id: int = 1) -> TrackConfig:
    """Describe a video track from an avcC/hvcC record or from annex B parameter sets; Mp4Error on garbage."""
    if extradata[:3] == b"\0\0\1" or extradata[:4] == b"\0\0\0\1":
        sets = split_annexb(extradata)
        record = build_avcc(sets) if codec == "h264" else build_hvcc(sets)
    else:
        record = bytes(extradata)
    sps_type = 7 if codec == "h264" else 33
    sets = record_sets(codec, record)
    mask, shift = (0x1F, 0) if codec == "h264" else (0x7E, 1)
    sps = next((nal for nal in sets if (nal[0] & mask) >> shift == sps_type), None)
    if sps is None:
        raise Mp4Error(f"{codec} record without an SPS")
    picture = read_sps(codec, sps)
    extra = _look_boxes(read_look(codec, sps))
    kind, child = (b"avc1", b"avcC") if codec == "h264" else (b"hvc1", b"hvcC")
    fixed = struct.pack(
        ">6xH16xHHIIIH32xHh", 1, picture.width, picture.height, 0x480000, 0x480000, 0, 1, 24, -1)  # fmt: skip
    entry = box(kind, fixed, box(child, record), extra)
    return TrackConfig(
        track_id, "video", codec, timescale, entry, width=picture.width, height=picture.height)  # fmt: skip


def _look_boxes(look: Look) -> bytes:
    """Build pasp and colr (ISO/IEC 14496-12, 12.1.4 and 12.1.5); empty where the look has default values."""
    pixel = b"" if look.aspect == (1, 1) else box(b"pasp", struct.pack(">II", *look.aspect))
    if look.colour is None:
        return pixel
    primaries, transfer, matrix, full = look.colour
    return pixel + box(b"colr", b"nclx", struct.pack(">HHHB", primaries, transfer, matrix, full << 7))


def aac_config(config: bytes, track_id: int = 2) -> TrackConfig:
    """Describe an AAC track from its AudioSpecificConfig; the timescale is the output sample rate."""
    meaning = read_aac(config)
    decoder = _descriptor(5, config)
    stream = _descriptor(4, struct.pack(">BB3xII", 0x40, 0x15, 0, 0) + decoder)
    esds = full_box(b"esds", 0, 0, _descriptor(3, struct.pack(">HB", 0, 0) + stream + _descriptor(6, b"\2")))
    entry = box(b"mp4a", _audio_fixed(meaning.channels, meaning.rate), esds)
    return TrackConfig(
        track_id, "audio", "aac", meaning.rate, entry, sample_rate=meaning.rate, channels=meaning.channels)  # fmt: skip


def opus_config(head: bytes, track_id: int = 2) -> TrackConfig:
    """Describe an Opus track from its OpusHead (RFC 7845, 5.1); the timescale is 48000."""
    try:
        opus = OpusHead.read(head)
    except BitstreamError as error:
        raise Mp4Error(str(error)) from error
    entry = box(b"Opus", _audio_fixed(opus.channels, OPUS_RATE), box(b"dOps", opus.write_dops()))
    return TrackConfig(track_id, "audio", "opus", OPUS_RATE, entry, sample_rate=OPUS_RATE, channels=opus.channels)


def _audio_fixed(channels: int, rate: int) -> bytes:
    return struct.pack(">6xH8xHH4xI", 1, channels, 16, rate << 16 if rate < 65536 else 0)


def _descriptor(tag: int, content: bytes) -> bytes:
    """Build an MPEG-4 descriptor with the four-byte length form that all readers accept."""
    size = len(content)
    return bytes([tag, *(0x80 | size >> shift & 0x7F for shift in (21, 14, 7)), size & 0x7F]) + content


def entry_child(entry: bytes, kind: bytes) -> Box | None:
    """Return a child box (avcC, hvcC, esds, dOps, pasp) of a sample entry; None when it has none."""
    head = read_header(entry, 0, len(entry))
    skip = VISUAL_BODY if head.kind in (b"avc1", b"avc3", b"hvc1", b"hev1") else AUDIO_BODY
    return next((b for b in children(entry, head.body + skip, head.end) if b.kind == kind), None)


def codec_record(config: TrackConfig) -> bytes:
    """Return the codec's own data from the sample entry: avcC, hvcC or dOps content, or AudioSpecificConfig."""
    kind = {"h264": b"avcC", "hevc": b"hvcC", "aac": b"esds", "opus": b"dOps"}[config.codec]
    child = entry_child(config.sample_entry, kind)
    if child is None:
        raise Mp4Error(f"sample entry without {kind.decode()}")
    content = config.sample_entry[child.body : child.end]
    return _decoder_info(content) if config.codec == "aac" else content


def _decoder_info(esds: bytes) -> bytes:
    """Find DecoderSpecificInfo (tag 5) in an esds box's content."""
    at, end = 4, len(esds)
    while at < end:
        tag = esds[at]
        at, size = at + 1, 0
        for _ in range(4):
            byte = unpack("B", esds, at, end)[0]
            at, size = at + 1, size << 7 | byte & 0x7F
            if not byte & 0x80:
                break
        if tag == 5 and at + size <= end:
            return esds[at : at + size]
        at += {3: 3, 4: 13}.get(tag, size)
    raise Mp4Error("esds without decoder info")


def with_record(config: TrackConfig, record: bytes) -> bytes:
    """Return the sample entry with its avcC or hvcC content replaced, all else kept."""
    child = entry_child(config.sample_entry, b"avcC" if config.codec == "h264" else b"hvcC")
    if child is None:
        raise Mp4Error("sample entry without a video record")
    entry = config.sample_entry
    return box(entry[4:8], entry[8 : child.start], box(entry[child.start + 4 : child.body], record), entry[child.end :])


def read_entry(entry: bytes, track_id: int, timescale: int) -> TrackConfig:
    """Return a track's description from its sample entry, encrypted or not; Mp4Error for an unsupported codec."""
    entry, kid = unprotected_entry(bytes(entry))
    head = read_header(entry, 0, len(entry))
    codec = KINDS.get(head.kind)
    if codec is None:
        raise Mp4Error(f"sample entry {head.kind!r} is not supported")
    if codec in ("h264", "hevc"):
        width, height = unpack("HH", entry, head.body + 24, head.end)
        return TrackConfig(track_id, "video", codec, timescale, entry, width=width, height=height, kid=kid)
    channels, rate = unpack("HxxxxxxI", entry, head.body + 16, head.end)
    hertz = rate >> 16 or timescale
    return TrackConfig(track_id, "audio", codec, timescale, entry, sample_rate=hertz, channels=channels, kid=kid)
