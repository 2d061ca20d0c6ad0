"""Names, for people, of tracks that cannot be recorded."""

from __future__ import annotations

from typing import Final

_SPOKEN: Final = {
    "av01": "AV1", "vp08": "VP8", "vp09": "VP9", "vvc1": "VVC", "vvc": "VVC", "fLaC": "FLAC", "ac-3": "AC-3",
    "ec-3": "E-AC-3", ".mp3": "MP3", "lpcm": "PCM", "flv1": "Sorenson H.263", "vp6f": "VP6", "vp6a": "VP6",
    "screen": "Flash Screen", "screen2": "Flash Screen 2", "speex": "Speex",
}  # fmt: skip
_VIDEO_IDS: Final = {"2": "flv1", "3": "screen", "4": "vp6f", "5": "vp6a", "6": "screen2"}
_AUDIO_IDS: Final = {"0": "lpcm", "1": "ADPCM", "2": ".mp3", "3": "lpcm", "4": "Nellymoser", "5": "Nellymoser",
                     "6": "Nellymoser", "7": "G.711", "8": "G.711", "11": "speex", "14": ".mp3"}  # fmt: skip


def spoken(name: str) -> str:
    """Name a track that cannot be recorded for people: an RTMP message's `video-av01`, or a peer's FOURCC."""
    kind, dash, codec = name.partition("-")
    if not dash or kind not in ("video", "audio"):
        kind, codec = "", name
    codec = {"video": _VIDEO_IDS, "audio": _AUDIO_IDS}.get(kind, {}).get(codec, codec)
    shown = _SPOKEN.get(codec) or "".join(char for char in codec if char.isascii() and char.isprintable())[:16]
    return f"{shown or 'unknown'} {kind}".strip()
