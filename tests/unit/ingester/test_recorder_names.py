"""Tracks that cannot be recorded are named for people, each by its container's way of telling the codec."""

from __future__ import annotations

import pytest

from services.ingester.recorder.mpegts import TsDemuxer
from services.ingester.recorder.names import is_media
from services.ingester.rtmp.frames import MediaFrames
from tests.support import media_flv as flv
from tests.support.ts_mux import TsMux

FLV = [
    (b"\x12", "", "Sorenson H.263 video"),
    (b"\x13", "", "Flash Screen video"),
    (b"\x14", "", "VP6 video"),
    (b"\x1d", "", "AV1 video"),
    (b"\x1f", "", "codec 15 video"),
    (b"\x91vp08", "", "VP8 video"),
    (b"\x91vvc1", "", "VVC video"),
    (b"\x91zzzz", "", "zzzz video"),
    (b"\x91\x00\x1b[2", "", "unknown video"),
    (b"", "3f", "PCM audio"),
    (b"", "1f", "ADPCM audio"),
    (b"", "6f", "Nellymoser audio"),
    (b"", "7f", "G.711 A-law audio"),
    (b"", "8f", "G.711 mu-law audio"),
    (b"", "b2", "Speex audio"),
]
REGISTERED = b"\x05\x04"
TS = [
    (0x01, b"", "MPEG-1 video"),
    (0x02, b"", "MPEG-2 video"),
    (0x10, b"", "MPEG-4 Visual video"),
    (0x11, b"", "AAC in LATM audio"),
    (0x33, b"", "VVC video"),
    (0x81, REGISTERED + b"DTS1", "DTS audio"),
    (0x82, b"", "DTS audio"),
    (0xEA, b"", "VC-1 video"),
    (0xDB, b"", "encrypted H.264 video"),
    (0xCF, b"", "encrypted AAC audio"),
    (0x06, REGISTERED + b"AV01", "AV1 video"),
    (0x06, REGISTERED + b"AV01" + b"\x80\x04\x81\x00\x0c\x00", "AV1 video"),
    (0x06, REGISTERED + b"VP09", "VP9 video"),
    (0x06, REGISTERED + b"DTS2", "DTS audio"),
    (0x06, REGISTERED + b"BSSD", "SMPTE 302M audio"),
    (0x06, b"\x7b\x05\x00\x00\x00\x00\x00", "DTS audio"),
    (0x06, b"\x7f\x02\x15\x00", "AC-4 audio"),
    (0x06, b"\x59\x08deu\x10\x00\x01\x00\x01", "DVB subtitles"),
    (0x06, b"\x56\x05deu\x08\x88", "teletext subtitles"),
    (0x06, REGISTERED + b"KLVA", "KLV data"),
    (0x06, b"", "private data"),
    (0x15, b"", "timed metadata data"),
    (0x86, b"", "SCTE-35 data"),
    (0xF3, b"", "type 0xf3 data"),
    (0xF3, REGISTERED + b"AV01", "AV1 video"),
    (0x06, b"\x05\xff", "private data"),
]


@pytest.mark.parametrize(("video", "audio", "name"), FLV, ids=[row[2] + str(n) for n, row in enumerate(FLV)])
def test_what_rtmp_brings_is_named(video: bytes, audio: str, name: str) -> None:
    kind, body = (flv.VIDEO, video) if video else (flv.AUDIO, bytes.fromhex(audio))
    media = MediaFrames(track_wait_ns=0, hold=0, most=9)
    media.metadata({"videocodecid": 7.0, "audiocodecid": 10.0})
    for role in (b"\x90", body[:1]):  # a sequence header first, where the form has one
        media.media(
            kind,
            0,
            bytearray((role if body[0] & 15 == 1 and body[0] >> 4 == 9 else body[:1]) + body[1:] + bytes(20)),
            0,
        )
    assert [given.frames for given in media.take()] == [[]]
    assert media.contents[:2] == ({"audio" if video else "video"}, {name}), "the metadata has announced both"
    assert is_media(name)


@pytest.mark.parametrize(("kind", "descriptors", "name"), TS, ids=[f"{row[0]:02x}-{n}" for n, row in enumerate(TS)])
def test_what_mpegts_holds_is_named(kind: int, descriptors: bytes, name: str) -> None:
    out = TsMux()
    out.tables([(kind, 0x100, descriptors)])
    demuxer = TsDemuxer()
    demuxer.feed(bytes(out))
    assert demuxer.unsupported == {name}
    assert demuxer.contents.expected == set()
    assert is_media(name) == name.endswith(("video", "audio"))


@pytest.mark.parametrize(
    ("kind", "descriptors", "expected"),
    [
        (0x1B, b"", "video"),
        (0x24, b"", "video"),
        (0x06, REGISTERED + b"HEVC", "video"),
        (0x0F, b"", "audio"),
        (0x0F, b"\x7c\x01\x50", "audio"),
        (0x06, REGISTERED + b"Opus\x7f\x02\x80\x02", "audio"),
        (0x06, b"\x7f\x02\x80\x02" + REGISTERED + b"Opus", "audio"),
        (0x03, b"", "audio"),
        (0x04, b"", "audio"),
        (0x81, b"", "audio"),
        (0x81, REGISTERED + b"AC-3", "audio"),
        (0x84, b"", "audio"),
        (0x87, b"", "audio"),
        (0x87, REGISTERED + b"EAC3", "audio"),
        (0x87, b"\xcc\x02\xc0\x40", "audio"),
        (0x06, REGISTERED + b"AC-3", "audio"),
        (0x06, REGISTERED + b"EAC3", "audio"),
        (0x06, b"\x6a\x01\x00", "audio"),
        (0x06, b"\x7a\x01\x00", "audio"),
        (0x06, b"\x0a\x04deu\x00\x6a\x01\x00", "audio"),
    ],
)
def test_what_can_be_recorded_is_expected(kind: int, descriptors: bytes, expected: str) -> None:
    out = TsMux()
    out.tables([(kind, 0x100, descriptors)])
    demuxer = TsDemuxer()
    demuxer.feed(bytes(out))
    assert demuxer.unsupported == set()
    assert demuxer.contents.expected == {expected}


def test_a_track_too_much_is_named() -> None:
    out = TsMux()
    sounds = [(0x0F, 0x110 + number, b"") for number in range(5)]
    out.tables([(0x1B, 0x100, b""), *sounds, (0x24, 0x103, b""), (0x82, 0x104, b"")])
    demuxer = TsDemuxer()
    demuxer.feed(bytes(out))
    assert demuxer.contents.further == 3
    assert demuxer.unsupported == {"further AAC audio", "further HEVC video", "DTS audio"}


def test_garbage_does_not_make_up_names_without_end() -> None:
    media = MediaFrames(track_wait_ns=0, hold=0, most=9999)
    for number in range(999):
        media.media(flv.VIDEO, number, bytearray(b"\x91%04d" % number + bytes(9)), 0)
    assert 1 < len(media.contents.unsupported) < 50
