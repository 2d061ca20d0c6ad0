"""Sample entries: how stsd describes the codecs of pictures and of sound, built from their data and read back.

Sources: ISO/IEC 14496-12 (8.5.2, 12.1.4), 14496-14 (esds), 14496-15 (avc1, hvc1), 14496-3 (1.6.2.1),
AV1 Codec ISO Media File Format Binding (av01), VP Codec ISO Media File Format Binding (vp09),
"Encapsulation of Opus in ISO Base Media File Format" 0.8.1 (dOps), RFC 7845 (OpusHead), ETSI TS 102 366 annex F.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace

from shared.media.bitstream.ac3 import Ac3Frame, all_channels, dac3, dec3
from shared.media.bitstream.av1 import read_sequence, sequence_of
from shared.media.bitstream.errors import BitstreamError
from shared.media.bitstream.flac import BLOCK_HEAD, read_info
from shared.media.bitstream.look import Look, read_look
from shared.media.bitstream.mpeg_audio import LOWEST_MPEG1, MpegAudio
from shared.media.bitstream.opus import OPUS_RATE, OpusHead
from shared.media.bitstream.params import VideoCodec, build_avcc, build_hvcc, read_sps, record_sets, split_annexb
from shared.media.bitstream.vp9 import read_vpcc
from shared.media.cenc.entry import unprotected_entry
from shared.media.mp4.aac import read_aac
from shared.media.mp4.boxes import Box, Mp4Error, box, children, full_box, read_header, unpack
from shared.media.tracks import AudioCodec, PictureCodec, TrackConfig

KINDS: dict[bytes, PictureCodec | AudioCodec] = {
    b"avc1": "h264", b"avc3": "h264", b"hvc1": "hevc", b"hev1": "hevc", b"av01": "av1", b"vp09": "vp9",
    b"mp4a": "aac", b"Opus": "opus", b"ac-3": "ac3", b"ec-3": "eac3", b"fLaC": "flac"}  # fmt: skip
RECORDS = {
    "h264": b"avcC", "hevc": b"hvcC", "av1": b"av1C", "vp9": b"vpcC",
    "aac": b"esds", "opus": b"dOps", "ac3": b"dac3", "eac3": b"dec3", "flac": b"dfLa",
}  # fmt: skip
"""The boxes in sample entries that hold the codecs' own data; MPEG audio has none."""
VISUAL = frozenset((b"avc1", b"avc3", b"hvc1", b"hev1", b"av01", b"vp09"))
AV1C = 0x81  # marker and version of an av1C record
_MPEG4, _MPEG2, _MPEG1 = 0x40, 0x69, 0x6B
"""objectTypeIndication (14496-1, table 5): MPEG-4 audio, and MPEG audio of the lower and the usual sample rates."""
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
    size = picture.width, picture.height
    return _visual(codec, record, size, read_look(codec, sps), TrackConfig(track_id, "video", codec, timescale, b""))


def av1_config(record: bytes, timescale: int, track_id: int = 1) -> TrackConfig:
    """Describe an AV1 track from an av1C record with a sequence header; Mp4Error, BitstreamError on garbage."""
    sequence = sequence_of(record[4:])
    if sequence is None or record[0] != AV1C:
        raise Mp4Error("av1C without a sequence header")
    form = read_sequence(sequence.body)
    track = TrackConfig(track_id, "video", "av1", timescale, b"")
    return _visual("av1", record, (form.width, form.height), Look(colour=form.colour), track)


def vp9_config(record: bytes, size: tuple[int, int], timescale: int, track_id: int = 1) -> TrackConfig:
    """Describe a VP9 track from a vpcC record and the pictures' size; BitstreamError on garbage."""
    form = read_vpcc(record, *size)
    track = TrackConfig(track_id, "video", "vp9", timescale, b"")
    return _visual("vp9", record, size, Look(colour=form.colour), track)


def _visual(codec: PictureCodec, record: bytes, size: tuple[int, int], look: Look, track: TrackConfig) -> TrackConfig:
    """Complete a track of pictures with its sample entry."""
    kind = {"h264": b"avc1", "hevc": b"hvc1", "av1": b"av01", "vp9": b"vp09"}[codec]
    fixed = struct.pack(">6xH16xHHIIIH32xHh", 1, *size, 0x480000, 0x480000, 0, 1, 24, -1)
    entry = box(kind, fixed, box(RECORDS[codec], record), _look_boxes(look))
    return replace(track, sample_entry=entry, width=size[0], height=size[1])


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
    entry = box(b"mp4a", _audio_fixed(meaning.channels, meaning.rate), _esds(_MPEG4, _descriptor(5, config)))
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


def mpeg_config(frame: MpegAudio, track_id: int = 2) -> TrackConfig:
    """Describe a track of MPEG audio from one of its frames; decoders find all else in the frames (14496-1, 8.6.7)."""
    kind = _MPEG1 if frame.rate >= LOWEST_MPEG1 else _MPEG2
    entry = box(b"mp4a", _audio_fixed(frame.channels, frame.rate), _esds(kind))
    return TrackConfig(
        track_id, "audio", frame.codec, frame.rate, entry, sample_rate=frame.rate, channels=frame.channels)  # fmt: skip


def ac3_config(frames: Sequence[Ac3Frame], track_id: int = 2) -> TrackConfig:
    """Describe a track of AC-3 or E-AC-3 from the frames of one access unit."""
    first = frames[0]
    if first.codec == "ac3":
        channels, entry_kind, child = first.channels, b"ac-3", box(b"dac3", dac3(first))
    else:
        channels, entry_kind, child = all_channels(frames), b"ec-3", box(b"dec3", dec3(frames))
    entry = box(entry_kind, _audio_fixed(channels, first.rate), child)
    return TrackConfig(track_id, "audio", first.codec, first.rate, entry, sample_rate=first.rate, channels=channels)


def flac_config(record: bytes, track_id: int = 2) -> TrackConfig:
    """Describe a FLAC track from its STREAMINFO, alone or with what comes before it in a stream."""
    try:
        info = read_info(record)
    except BitstreamError as error:
        raise Mp4Error(str(error)) from error
    child = full_box(b"dfLa", 0, 0, BLOCK_HEAD + info.data)
    entry = box(b"fLaC", _audio_fixed(info.channels, info.rate, info.bits), child)
    return TrackConfig(
        track_id, "audio", "flac", info.rate, entry, sample_rate=info.rate, channels=info.channels)  # fmt: skip


def _esds(kind: int, decoder: bytes = b"") -> bytes:
    """Build esds of an objectTypeIndication, with DecoderSpecificInfo where the codec has any."""
    stream = _descriptor(4, struct.pack(">BB3xII", kind, 0x15, 0, 0) + decoder)
    return full_box(b"esds", 0, 0, _descriptor(3, struct.pack(">HB", 0, 0) + stream + _descriptor(6, b"\2")))


def _audio_fixed(channels: int, rate: int, bits: int = 16) -> bytes:
    return struct.pack(">6xH8xHH4xI", 1, channels, bits, rate << 16 if rate < 65536 else 0)


def _descriptor(tag: int, content: bytes) -> bytes:
    """Build an MPEG-4 descriptor with the four-byte length form that all readers accept."""
    size = len(content)
    return bytes([tag, *(0x80 | size >> shift & 0x7F for shift in (21, 14, 7)), size & 0x7F]) + content


def entry_child(entry: bytes, kind: bytes) -> Box | None:
    """Return a child box (avcC, hvcC, esds, dOps, pasp) of a sample entry; None when it has none."""
    head = read_header(entry, 0, len(entry))
    skip = VISUAL_BODY if head.kind in VISUAL else AUDIO_BODY
    return next((b for b in children(entry, head.body + skip, head.end) if b.kind == kind), None)


def codec_record(config: TrackConfig) -> bytes:
    """Return the codec's own data from the sample entry: a box's content, AudioSpecificConfig, none of MPEG audio."""
    kind = RECORDS.get(config.codec)
    if kind is None:
        return b""
    child = entry_child(config.sample_entry, kind)
    if child is None:
        raise Mp4Error(f"sample entry without {kind.decode()}")
    content = config.sample_entry[child.body : child.end]
    if config.codec == "flac":
        return content[8:]  # behind version, flags and the block's header
    return _decoder_info(content) if config.codec == "aac" else content


def has_mpeg_audio(entry: bytes) -> bool:
    """Return whether an mp4a sample entry is of MPEG-1 or MPEG-2 audio, by its objectTypeIndication."""
    child = entry_child(entry, b"esds")
    return child is not None and _decoder_config(entry[child.body : child.end], 4)[0] in (_MPEG1, _MPEG2)


def _decoder_info(esds: bytes) -> bytes:
    """Return DecoderSpecificInfo (tag 5) from an esds box's content."""
    return _decoder_config(esds, 5)


def _decoder_config(esds: bytes, wanted: int) -> bytes:
    """Find the descriptor of a tag: 4 is DecoderConfig, 5 DecoderSpecificInfo."""
    at, end = 4, len(esds)
    while at < end:
        tag = esds[at]
        at, size = at + 1, 0
        for _ in range(4):
            byte = unpack("B", esds, at, end)[0]
            at, size = at + 1, size << 7 | byte & 0x7F
            if not byte & 0x80:
                break
        if tag == wanted and size and at + size <= end:
            return esds[at : at + size]
        at += {3: 3, 4: 13}.get(tag, size)
    raise Mp4Error("esds without decoder info")


def with_record(config: TrackConfig, record: bytes) -> bytes:
    """Return the sample entry of pictures with the content of its record replaced, all else kept."""
    child = entry_child(config.sample_entry, RECORDS[config.codec])
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
    if head.kind in VISUAL:
        width, height = unpack("HH", entry, head.body + 24, head.end)
        return TrackConfig(track_id, "video", codec, timescale, entry, width=width, height=height, kid=kid)
    channels, rate = unpack("HxxxxxxI", entry, head.body + 16, head.end)
    hertz = rate >> 16 or timescale
    if codec == "aac" and has_mpeg_audio(entry):
        codec = "mp3"
    return TrackConfig(track_id, "audio", codec, timescale, entry, sample_rate=hertz, channels=channels, kid=kid)
