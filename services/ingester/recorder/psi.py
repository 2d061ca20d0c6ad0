"""Program tables of MPEG-TS: which packets carry the video and the audio (ISO/IEC 13818-1, 2.4.4)."""

from __future__ import annotations

from typing import NamedTuple

from services.ingester.recorder.names import DESCRIPTORS, EXTENSIONS, REGISTERED, stream_name
from shared.media.crc import crc32

PAT_TABLE, PMT_TABLE = 0x00, 0x02
MAX_SECTION = 1024
# stream_type: table 2-34; private data (6) is identified by its descriptors.
KINDS = {0x1B: "h264", 0x24: "hevc", 0x0F: "aac", 0x03: "mpeg", 0x04: "mpeg"}
# ATSC A/53-3 and A/52 (annexes A and G), and Blu-ray's E-AC-3: user-private types, which a registration may contradict.
USER_KINDS = {0x81: "ac3", 0x84: "ac3", 0x87: "ac3"}
PRIVATE, USER_PRIVATE = 0x06, 0x80
REGISTRATION, LANGUAGE, EXTENSION, OPUS_EXTENSION = 0x05, 0x0A, 0x7F, 0x80
AVC_DESCRIPTOR, HEVC_DESCRIPTOR = 0x28, 0x38
REGISTERED_OURS = {b"Opus": "opus", b"HEVC": "hevc", b"H264": "h264", b"AC-3": "ac3", b"EAC3": "ac3"}
DESCRIBED_OURS = {AVC_DESCRIPTOR: "h264", HEVC_DESCRIPTOR: "hevc", 0x6A: "ac3", 0x7A: "ac3", 0xCC: "ac3"}
"""By descriptor: H.264, HEVC, DVB's AC-3 and E-AC-3 (EN 300 468, annex D), ATSC's E-AC-3 (A/52, G.3.5)."""


class Stream(NamedTuple):
    """A program's track: `codec` is a recorded codec, or another one's display name; `channels`: Opus channel code.

    `language` is three letters, or empty (ISO_639_language_descriptor, 2.6.18).
    """

    pid: int
    codec: str
    channels: int = 0
    language: str = ""


class Sections:
    """Collects the sections of one PID; returns a section only when it has changed."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._last = b""
        self._whole = b""  # a payload that holds one complete section and nothing else of use

    def take(self, payload: bytes, *, start: bool) -> bytes | None:
        """Take a packet's payload; return a complete, valid section that differs from the last one, or None."""
        if start and payload == self._whole:  # repeated: the usual case
            self._data.clear()
            return None
        if start:
            pointer = payload[0] + 1 if payload else 1
            self._data = bytearray(payload[pointer:])
        elif self._data:
            self._data += payload
        if len(self._data) < 3:
            return None
        size = 3 + ((self._data[1] & 0x0F) << 8 | self._data[2])
        if size > MAX_SECTION or len(self._data) < size:
            if size > MAX_SECTION or len(self._data) > MAX_SECTION:
                self._data.clear()
            return None
        section = bytes(self._data[:size])
        self._data.clear()
        self._whole = payload if start else b""
        if section == self._last or size < 12 or crc32(section):
            return None
        self._last = section
        return section


def read_pat(section: bytes) -> int | None:
    """Return the PID of the first program's map; None when there is none (or the table does not apply yet)."""
    if section[0] != PAT_TABLE or not section[5] & 1:
        return None
    for at in range(8, len(section) - 7, 4):
        if section[at] or section[at + 1]:
            return (section[at + 2] & 0x1F) << 8 | section[at + 3]
    return None


def read_pmt(section: bytes) -> list[Stream] | None:
    """Return a program's tracks; None when the section is not a program map that applies now."""
    if section[0] != PMT_TABLE or not section[5] & 1:
        return None
    streams = []
    end = len(section) - 4
    at = 12 + ((section[10] & 0x0F) << 8 | section[11])
    while at + 5 <= end:
        kind, pid = section[at], (section[at + 1] & 0x1F) << 8 | section[at + 2]
        after = at + 5 + ((section[at + 3] & 0x0F) << 8 | section[at + 4])
        descriptors = section[at + 5 : min(after, end)]
        streams.append(_stream(kind, pid, descriptors)._replace(language=_language(descriptors)))
        at = after
    return streams


def has_further_programs(section: bytes) -> bool:
    """Return whether a PAT has more than one program."""
    return sum(1 for at in range(8, len(section) - 7, 4) if section[at] or section[at + 1]) > 1


def _language(descriptors: bytes) -> str:
    at = 0
    while at + 5 <= len(descriptors):
        if descriptors[at] == LANGUAGE:
            language = str(descriptors[at + 2 : at + 5], "latin-1").lower()
            return language if language.isascii() and language.isalpha() and language != "und" else ""
        at += 2 + descriptors[at + 1]
    return ""


def _stream(kind: int, pid: int, descriptors: bytes) -> Stream:
    if kind in KINDS:
        return Stream(pid, KINDS[kind])
    codec, name, channels = "", "", 0
    at = 0
    while at + 2 <= len(descriptors):
        tag, size = descriptors[at], descriptors[at + 1]
        content = descriptors[at + 2 : at + 2 + size]
        at += 2 + size
        if tag == REGISTRATION:
            codec = codec or REGISTERED_OURS.get(content[:4], "")
            name = name or REGISTERED.get(content[:4], "")
        elif tag == EXTENSION and content[:1] == bytes((OPUS_EXTENSION,)):
            channels = content[1] if size >= 2 and len(content) > 1 else 0
        elif tag == EXTENSION and content:
            name = name or EXTENSIONS.get(content[0], "")
        else:
            codec = codec or DESCRIBED_OURS.get(tag, "")
            name = name or DESCRIPTORS.get(tag, "")
    if kind == PRIVATE and codec:
        return Stream(pid, codec, channels)
    if kind in USER_KINDS and (codec == USER_KINDS[kind] or not (codec or name)):
        return Stream(pid, USER_KINDS[kind])
    return Stream(pid, (name if kind == PRIVATE else "") or _plain(kind, name))


def _plain(kind: int, name: str) -> str:
    """Return a stream's name by its type; user-private types are named by their descriptors, if possible."""
    told = stream_name(kind)
    if kind == PRIVATE:
        return "private data"
    return name or told if kind >= USER_PRIVATE else told
