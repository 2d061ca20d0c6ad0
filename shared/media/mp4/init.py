"""Init segments: the moov that fragments need before them (ISO/IEC 14496-12, 8.8; CMAF 7.3)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace

from shared.media.cenc.entry import protected_entry
from shared.media.mp4.boxes import Box, Mp4Error, box, children, find, full_box, need, unpack
from shared.media.mp4.entries import aac_config, opus_config, read_entry, video_config
from shared.media.tracks import TrackConfig

__all__ = ["aac_config", "build_init", "media_header", "opus_config", "parse_init", "video_config"]

MATRIX = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
MAX_TRACKS = 64
UNKNOWN = "und"


def build_init(tracks: Sequence[TrackConfig]) -> bytes:
    """Build `ftyp moov` for fragments of these tracks; sample entries are kept byte for byte, unless there is a key."""
    header = full_box(b"mvhd", 0, 0, struct.pack(">IIIIIH10x", 0, 0, 1000, 0, 0x10000, 0x100), MATRIX,
                      bytes(24), struct.pack(">I", max(t.track_id for t in tracks) + 1))  # fmt: skip
    traks = [box(b"trak", track_header(t, 0), box(b"mdia", *media_header(t, 0), box(
        b"minf", *media_info(t), _empty_table(t)))) for t in tracks]  # fmt: skip
    extends = [full_box(b"trex", 0, 0, struct.pack(">5I", t.track_id, 1, 0, 0, 0)) for t in tracks]
    return box(b"ftyp", b"iso6", struct.pack(">I", 1), b"iso6cmfcmp41") + box(
        b"moov", header, *traks, box(b"mvex", *extends)
    )


def _empty_table(track: TrackConfig) -> bytes:
    entry = protected_entry(track.sample_entry, track.kid) if track.kid else track.sample_entry
    return box(b"stbl", sample_descriptions([entry]), full_box(b"stts", 0, 0, bytes(4)),
               full_box(b"stsc", 0, 0, bytes(4)), full_box(b"stsz", 0, 0, bytes(8)),
               full_box(b"stco", 0, 0, bytes(4)))  # fmt: skip


def sample_descriptions(entries: Sequence[bytes]) -> bytes:
    """Build stsd from whole sample entries."""
    return full_box(b"stsd", 0, 0, struct.pack(">I", len(entries)), *entries)


def track_header(track: TrackConfig, duration: int, *, enabled: bool = True) -> bytes:
    """Build tkhd; `duration` is in the movie's timescale. Sound tracks are alternatives, of which one is `enabled`."""
    video = track.kind == "video"
    layout = ">QQI4xQ" if duration > 0xFFFFFFFF else ">III4xI"
    times = struct.pack(layout, 0, 0, track.track_id, duration)
    group = struct.pack(">8xHHH2x", 0, 0 if video else 1, 0 if video else 0x100)
    size = struct.pack(">II", track.width << 16, track.height << 16)
    return full_box(b"tkhd", 1 if layout[1] == "Q" else 0, 2 | enabled, times, group, MATRIX, size)


def media_header(track: TrackConfig, duration: int) -> tuple[bytes, bytes]:
    """Build mdhd and hdlr; `duration` is in the track's timescale."""
    wide = duration > 0xFFFFFFFF
    times = struct.pack(">QQIQ" if wide else ">IIII", 0, 0, track.timescale, duration)
    mdhd = full_box(b"mdhd", int(wide), 0, times, _packed(track.language), bytes(2))
    kind, name = (b"vide", b"video\0") if track.kind == "video" else (b"soun", b"audio\0")
    return mdhd, full_box(b"hdlr", 0, 0, bytes(4), kind, bytes(12), name)


def _packed(language: str) -> bytes:
    """Pack a language's three letters into 15 bits (8.4.2.3); "und" when there are none."""
    first, second, third = (ord(letter) - 0x60 for letter in language or UNKNOWN)
    return struct.pack(">H", first << 10 | second << 5 | third)


def _language(bits: int) -> str:
    """Return a packed language; empty when it is "und" or none."""
    language = "".join(chr(0x60 + (bits >> shift & 31)) for shift in (10, 5, 0))
    return "" if language == UNKNOWN or not language.isalpha() else language


def media_info(track: TrackConfig) -> tuple[bytes, bytes]:
    """Build vmhd or smhd, and dinf with media in the file itself."""
    head = full_box(b"vmhd", 0, 1, bytes(8)) if track.kind == "video" else full_box(b"smhd", 0, 0, bytes(4))
    reference = full_box(b"dref", 0, 0, struct.pack(">I", 1), full_box(b"url ", 0, 1))
    return head, box(b"dinf", reference)


def parse_init(data: bytes) -> list[TrackConfig]:
    """Read the tracks of a moov (of an init segment or a whole movie); Mp4Error on garbage or other codecs."""
    moov = need(data, None, b"moov")
    traks = [b for b in children(data, moov.body, moov.end) if b.kind == b"trak"]
    if not traks or len(traks) > MAX_TRACKS:
        raise Mp4Error(f"moov with {len(traks)} tracks")
    return [_parse_track(data, trak) for trak in traks]


def _parse_track(data: bytes, trak: Box) -> TrackConfig:
    tkhd = need(data, trak, b"tkhd")
    wide = unpack("B", data, tkhd.body, tkhd.end)[0] == 1
    track_id = unpack("I", data, tkhd.body + (20 if wide else 12), tkhd.end)[0]
    mdhd = need(data, trak, b"mdia", b"mdhd")
    wide = unpack("B", data, mdhd.body, mdhd.end)[0] == 1
    timescale = unpack("I", data, mdhd.body + (20 if wide else 12), mdhd.end)[0]
    language = _language(unpack("H", data, mdhd.body + (32 if wide else 20), mdhd.end)[0])
    stsd = need(data, trak, b"mdia", b"minf", b"stbl", b"stsd")
    entry = next(children(data, stsd.body + 8, stsd.end), None)
    if entry is None or not timescale or not track_id or find(data, trak, b"mdia", b"hdlr") is None:
        raise Mp4Error("track without an id, a timescale or a sample entry")
    return replace(read_entry(bytes(data[entry.start : entry.end]), track_id, timescale), language=language)
