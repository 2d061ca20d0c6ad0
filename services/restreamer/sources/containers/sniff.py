"""Detect a file's type by its first bytes. File names, URL extensions and content types are not used."""

from __future__ import annotations

from typing import Final, Literal

from services.restreamer.model import SourceError
from shared.media.mp4.boxes import Mp4Error, read_header

Container = Literal["mp4", "flv", "mpegts", "matroska", "m3u8"]
TS_PACKET: Final = 188
_SYNC: Final = 0x47
_MP4: Final = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp", b"sidx", b"moof"})
_OTHERS: Final = (
    (b"<", "a web page or XML"),
    (b"{", "JSON"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"GIF8", "a picture"),
    (b"%PDF", "a PDF"),
    (b"PK\x03\x04", "a ZIP"),
    (b"\x1f\x8b", "a compressed file"),
    (b"ID3", "sound alone"),
    (b"OggS", "an Ogg file"),
    (b"RIFF", "a RIFF file (AVI, WAV)"),
    (b"\x30\x26\xb2\x75", "a Windows Media file"),
    (b"\x00\x00\x01\xba", "an MPEG program stream"),
)


def sniff(head: bytes) -> Container:
    """Return the container; raise SourceError (wrong type) for an unsupported file."""
    if head[4:8] in _MP4:
        return "mp4"
    if head[:4] == b"FLV\x01":
        return "flv"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "matroska"
    if is_playlist(head):
        return "m3u8"
    if _is_ts(head):
        return "mpegts"
    if not head:
        raise SourceError("wrong type: the file is empty")
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    what = next((what for start, what in _OTHERS if text.startswith(start)), "something else")
    raise SourceError(f"wrong type: mp4, flv, m3u8, MPEG-TS or Matroska is expected, this is {what}")


def is_playlist(head: bytes) -> bool:
    """Return whether the bytes start an m3u8."""
    return head.removeprefix(b"\xef\xbb\xbf")[:7] == b"#EXTM3U"


def is_page(head: bytes) -> bool:
    """Return whether the bytes start a web page, XML or JSON, which some servers send in place of a file."""
    return head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in {b"<", b"{"}


def _is_ts(head: bytes) -> bool:
    """Return whether packets of 188 bytes, or of 192 with a time before each, all start with the sync byte."""
    for stride in (TS_PACKET, TS_PACKET + 4):
        for start in range(min(stride, len(head))):
            starts = range(start, len(head), stride)
            if len(starts) >= 3 and all(head[at] == _SYNC for at in starts[:8]):
                return True
    return len(head) >= TS_PACKET and len(head) % TS_PACKET == 0 and all(b == _SYNC for b in head[::TS_PACKET])


def index_comes_late(head: bytes) -> bool:
    """Return whether an mp4's samples come before its moov, as far as the first bytes show."""
    at, end = 0, 1 << 62
    while True:
        try:
            box = read_header(head, at, end)
        except Mp4Error:
            return False
        if box.kind in {b"moov", b"mdat"}:
            return box.kind == b"mdat"
        at = box.end
