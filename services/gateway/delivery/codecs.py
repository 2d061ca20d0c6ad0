"""The attributes CODECS (RFC 6381) and VIDEO-RANGE of an HLS rendition, read from its init segment.

avc1: RFC 6381, 3.3. hvc1: ISO/IEC 14496-15, annex E.3. av01: AV1 Codec ISO Media File Format Binding, 5. vp09: VP Codec
ISO Media File Format Binding, "Codecs Parameter String". mp4a.40: the audio object type of ISO/IEC 14496-3, 1.6.2.1.
mp4a.6B and mp4a.69: MPEG audio, by its objectTypeIndication (RFC 6381, 3.3); browsers do not know mp4a.40.34.
"""

from __future__ import annotations

from collections.abc import Iterable

from shared.media.bitstream.mpeg_audio import LOWEST_MPEG1
from shared.media.mp4.aac import read_aac
from shared.media.mp4.boxes import Mp4Error
from shared.media.mp4.entries import codec_record
from shared.media.mp4.hdr import colour_of
from shared.media.tracks import TrackConfig

_RANGES = {16: "PQ", 18: "HLG"}
_NAMES = {"opus": "opus", "ac3": "ac-3", "eac3": "ec-3", "flac": "fLaC"}


def codecs_of(tracks: Iterable[TrackConfig]) -> str:
    """Return the codecs of all tracks, joined with commas; empty when any is unknown."""
    try:
        return ",".join(_name(track) for track in tracks)
    except (Mp4Error, IndexError):
        return ""


def range_of(tracks: Iterable[TrackConfig]) -> str:
    """Return VIDEO-RANGE (RFC 8216bis, 4.4.6.2), PQ or HLG by the transfer; empty for SDR."""
    try:
        found = [colour_of(track) for track in tracks if track.kind == "video"]
    except Mp4Error:
        return ""
    return next((_RANGES[colour.transfer] for colour in found if colour and colour.transfer in _RANGES), "")


def _name(track: TrackConfig) -> str:
    if (name := _NAMES.get(track.codec)) is not None:
        return name
    if track.codec in ("mp2", "mp3"):
        return "mp4a.6B" if track.sample_rate >= LOWEST_MPEG1 else "mp4a.69"
    record = codec_record(track)
    return f"mp4a.40.{read_aac(record).kind}" if track.kind == "audio" else _picture_name(track, record)


def _picture_name(track: TrackConfig, record: bytes) -> str:
    if track.codec == "h264":
        return f"avc1.{record[1:4].hex()}"
    if track.codec == "hevc":
        return hevc_name(record)
    if track.codec == "vp9":
        return f"vp09.{record[4]:02d}.{record[5]:02d}.{record[6] >> 4:02d}"
    tier, depth = "H" if record[2] & 0x80 else "M", (8, 8, 10, 12)[record[2] >> 5 & 3]
    return f"av01.{record[1] >> 5}.{record[1] & 31:02d}{tier}.{depth:02d}"


def hevc_name(record: bytes) -> str:
    """Return an hvcC record's name: profile, reversed compatibility bits, tier, level, constraints without zeros."""
    if len(record) < 13:
        raise Mp4Error("hvcC is cut short")
    space = ("", "A", "B", "C")[record[1] >> 6]
    flags = int(f"{int.from_bytes(record[2:6], 'big'):032b}"[::-1], 2)
    tier = "H" if record[1] & 0x20 else "L"
    constraints = "".join(f".{byte:x}" for byte in record[6:12].rstrip(b"\0"))
    return f"hvc1.{space}{record[1] & 0x1F}.{flags:x}.{tier}{record[12]}{constraints}"
