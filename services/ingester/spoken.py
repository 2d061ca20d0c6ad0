"""Names, for people, of tracks that cannot be recorded."""

from __future__ import annotations

import re
from typing import Final

_SPOKEN: Final = {
    "av01": "AV1", "vp08": "VP8", "vp09": "VP9", "vvc1": "VVC", "vvc": "VVC", "fLaC": "FLAC", "ac-3": "AC-3",
    "ac3": "AC-3", "ec-3": "E-AC-3", "eac3": "E-AC-3", ".mp3": "MP3", "mp3": "MP2 or MP3", "mp2": "MP2 or MP3",
    "dts": "DTS",
    "lpcm": "PCM", "aac-latm": "AAC in LATM", "mpeg1video": "MPEG-1", "mpeg2video": "MPEG-2", "mpeg4": "MPEG-4 part 2",
    "flv1": "Sorenson H.263", "vp6f": "VP6", "vp6a": "VP6", "screen": "Screen Video", "screen2": "Screen Video",
    "speex": "Speex",
}  # fmt: skip
_VIDEO_IDS: Final = {"2": "flv1", "3": "screen", "4": "vp6f", "5": "vp6a", "6": "screen2"}
_AUDIO_IDS: Final = {"0": "lpcm", "1": "ADPCM", "2": ".mp3", "3": "lpcm", "4": "Nellymoser", "5": "Nellymoser",
                     "6": "Nellymoser", "7": "G.711", "8": "G.711", "11": "speex", "14": ".mp3"}  # fmt: skip


_DATA: Final = re.compile("type-(?:0[5689a-e]|1[4-9a]|8[69]|90|[c-f].)")
"""MPEG-TS streams that are neither pictures nor sound: sections, subtitles, metadata, splice information."""


def spoken(name: str) -> str:
    """Name a track that cannot be recorded for people: a demuxer's `video-av01` or `mp2`, or a peer's FOURCC."""
    kind, dash, codec = name.partition("-")
    if not dash or kind not in ("video", "audio"):
        kind, codec = "", name
    codec = {"video": _VIDEO_IDS, "audio": _AUDIO_IDS}.get(kind, {}).get(codec, codec)
    shown = _SPOKEN.get(codec) or "".join(char for char in codec if char.isascii() and char.isprintable())[:16]
    return f"{shown or 'unknown'} {kind}".strip()


def is_media(name: str) -> bool:
    """Tell whether a demuxer's name of a track means pictures or sound."""
    return not _DATA.fullmatch(name)
