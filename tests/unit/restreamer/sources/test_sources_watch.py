"""Where a file's codecs change: tables of MPEG-TS and tags of FLV, in pieces of any size."""

from __future__ import annotations

import pytest

from services.restreamer.sources.containers.ts_watch import TsFinder
from services.restreamer.sources.containers.watch import Finder, Watch
from services.restreamer.sources.flv.watch import FlvFinder
from shared.media.crc import crc32

H264, HEVC, AAC, MP3 = 0x1B, 0x24, 0x0F, 0x03


def packet(pid: int, body: bytes, *, start: bool = True) -> bytes:
    return bytes((0x47, start << 6 | pid >> 8, pid & 0xFF, 0x10)) + (body + b"\xff" * 184)[:184]


def section(table: int, body: bytes) -> bytes:
    size = 5 + len(body) + 4
    data = bytes((table, 0xB0 | size >> 8, size & 0xFF, 0, 1, 0xC1, 0, 0)) + body
    return b"\0" + data + crc32(data).to_bytes(4, "big")


def tables(*streams: tuple[int, int], pmt: int = 0x1000, broken: bool = False) -> bytes:
    """Write a PAT and a PMT of (type, PID)s."""
    pat = section(0, b"\0\1" + (0xE000 | pmt).to_bytes(2, "big"))
    listed = b"".join(bytes((kind, 0xE0 | pid >> 8, pid & 0xFF, 0xF0, 0)) for kind, pid in streams)
    told = section(2, b"\xe1\0\xf0\0" + listed)
    if broken:
        told = told[:-1] + bytes((told[-1] ^ 1,))
    return packet(0, pat) + packet(pmt, told)


FRAMES = packet(0x100, b"\0\0\1\xe0") + packet(0x100, b"x", start=False) * 5 + packet(0x101, b"\0\0\1\xc0")
PLAIN = ((H264, 0x100), (AAC, 0x101))
TABLES = {
    "the same": (tables(*PLAIN), ""),
    "the same elsewhere": (tables(*PLAIN, pmt=0x1100), ""),
    "in another order": (tables(*PLAIN[::-1]), ""),
    "data beside": (tables(*PLAIN, (0x86, 0x1F0), (0x15, 0x1F1)), ""),
    "sound pauses": (tables(PLAIN[0]), ""),
    "another sound beside": (tables(*PLAIN, (AAC, 0x102)), ""),
    "a broken table": (tables((HEVC, 0x100), PLAIN[1], broken=True), ""),
    "another codec": (tables((HEVC, 0x100), PLAIN[1]), "video"),
    "another codec of sound": (tables(PLAIN[0], (MP3, 0x101)), "audio"),
    "another PID": (tables((H264, 0x200), PLAIN[1]), "video"),
    "other PIDs, table elsewhere": (tables((H264, 0x200), (AAC, 0x201), pmt=0x1100), "video"),
}


class File:
    """Bytes that are read in small pieces."""

    def __init__(self, data: bytes, most: int) -> None:
        self.data, self.most, self.at = data, most, 0

    def read(self, size: int) -> bytes:
        piece = self.data[self.at : self.at + min(size, self.most)]
        self.at += len(piece)
        return piece

    def head(self) -> bytes:
        return self.data[:4096]

    def close(self) -> None:
        self.at = len(self.data)


def read(file: File, finder: Finder) -> tuple[bytes, str, bytes]:
    """Read up to a change: what came before it, what changed, and what follows."""
    watch = Watch(file, finder)
    before = b"".join(iter(lambda: watch.read(1 << 16), b""))
    if not watch.changed:
        return before, "", b""
    rest = watch.rest()
    return before, watch.changed, b"".join(iter(lambda: rest.read(1 << 16), b""))


@pytest.mark.parametrize("most", [50, 188, 1000, 1 << 16])
@pytest.mark.parametrize("name", TABLES)
def test_tables_tell_a_change_where_decoders_would_lose_something(name: str, most: int) -> None:
    later, expected = TABLES[name]
    first, second = tables(*PLAIN) + FRAMES * 9, later + FRAMES * 9
    before, changed, after = read(File(first + second, most), TsFinder(first))
    assert changed == expected
    if changed:
        assert before == first + second[:188]  # the table of programs
        assert after == second
    else:
        assert before == first + second


@pytest.mark.parametrize("most", [7, 100, 1 << 16])
def test_streams_that_come_up_one_by_one_are_no_change(most: int) -> None:
    data = tables() + FRAMES + tables(PLAIN[1]) + FRAMES + tables(*PLAIN) + FRAMES
    assert read(File(data, most), TsFinder(data)) == (data, "", b"")


def tag(kind: int, body: bytes) -> bytes:
    return bytes((kind,)) + len(body).to_bytes(3, "big") + bytes(7) + body + (len(body) + 11).to_bytes(4, "big")


HEAD = b"FLV\1\5\0\0\0\x09" + bytes(4)
META = tag(18, b"\2\0\nonMetaData" + bytes(20))
AVC_HEAD, AVC_KEY, AVC = (
    tag(9, b"\x17\0\0\0\0avcC" + bytes(20)),
    tag(9, b"\x17\1" + bytes(90)),
    tag(9, b"\x27\1" + bytes(50)),
)
AVC_END = tag(9, b"\x17\2\0\0\0")
HEVC_HEAD, HEVC_KEY, HEVC_FRAME = (
    tag(9, b"\x90hvc1" + bytes(30)),
    tag(9, b"\x93hvc1" + bytes(90)),
    tag(9, b"\xa3hvc1" + bytes(50)),
)
AAC_HEAD, AAC_FRAME, MP3_FRAME = tag(8, b"\xaf\0\x11\x90"), tag(8, b"\xaf\1" + bytes(30)), tag(8, b"\x2f" + bytes(30))
BEGIN = META + AVC_HEAD + AAC_HEAD + AVC_KEY + (AAC_FRAME + AVC) * 9 + AVC_END
GOES_ON = AVC_KEY + (AAC_FRAME + AVC) * 9
TAGS = {
    "the same": (META + AVC_HEAD + AAC_HEAD + GOES_ON, ""),
    "sound ends": (AVC_KEY + AVC * 90 + AVC_KEY + AVC * 90, ""),
    "one broken tag": (AVC_KEY + MP3_FRAME + (AAC_FRAME + AVC) * 9, ""),
    "another codec": (META + HEVC_HEAD + AAC_HEAD + HEVC_KEY + (AAC_FRAME + HEVC_FRAME) * 9, "video"),
    "another codec of sound": (META + AVC_HEAD + AVC_KEY + (AVC + MP3_FRAME) * 9, "audio"),
    "another codec of sound at a keyframe": (AVC_KEY + (AVC + MP3_FRAME) * 9, "audio"),
    "without metadata": (HEVC_HEAD + HEVC_KEY + (AAC_FRAME + HEVC_FRAME) * 9, "video"),
}


@pytest.mark.parametrize("most", [9, 64, 1000, 1 << 16])
@pytest.mark.parametrize("name", TAGS)
def test_tags_tell_a_change_from_what_began_it_on(name: str, most: int) -> None:
    later, expected = TAGS[name]
    data = HEAD + BEGIN + later
    before, changed, after = read(File(data, most), FlvFinder(data))
    assert changed == expected
    if changed:
        kept = AAC_HEAD if changed == "video" else AVC_HEAD
        assert before == HEAD + BEGIN
        assert after == HEAD + kept + later
    else:
        assert before == data
