"""Human-readable names of tracks that are not recorded: "AV1 video", "DTS audio", "DVB subtitles", "SCTE-35 data".

Sources: Adobe, "Video File Format 10.1" (E.4.2.1, E.4.3.1), Veovera, "Enhanced RTMP v2", ISO/IEC 13818-1 (table 2-34),
ETSI EN 300 468 (table 12), the SMPTE registry of format identifiers.
"""

from __future__ import annotations

CODECS = {
    "flv1": "Sorenson H.263",
    "screen": "Flash Screen",
    "vp6f": "VP6",
    "vp6a": "VP6 with alpha",
    "screen2": "Flash Screen 2",
    "video-8": "H.263",
    "video-9": "MPEG-4 Visual",
    "video-13": "AV1",
    "audio-0": "PCM",
    "audio-1": "ADPCM",
    "audio-3": "PCM",
    "audio-4": "Nellymoser",
    "audio-5": "Nellymoser",
    "audio-6": "Nellymoser",
    "audio-7": "G.711 A-law",
    "audio-8": "G.711 mu-law",
    "speex": "Speex",
    "audio-15": "device-specific",
    "av01": "AV1",
    "vp08": "VP8",
    "vp09": "VP9",
    "vvc1": "VVC",
    "avc1": "H.264",
    "hvc1": "HEVC",
    "mp4v": "MPEG-4 Visual",
    "ac-3": "AC-3",
    "ec-3": "E-AC-3",
    ".mp3": "MP3",
    "fLaC": "FLAC",
    "mp4a": "AAC",
    "Opus": "Opus",
}
STREAM_TYPES = {
    0x01: "MPEG-1 video",
    0x02: "MPEG-2 video",
    0x05: "private data",
    0x0A: "DSM-CC data",
    0x0B: "DSM-CC data",
    0x0C: "DSM-CC data",
    0x0D: "DSM-CC data",
    0x10: "MPEG-4 Visual video",
    0x11: "AAC in LATM audio",
    0x15: "timed metadata data",
    0x1C: "raw AAC audio",
    0x1F: "H.264 SVC video",
    0x20: "H.264 MVC video",
    0x21: "JPEG 2000 video",
    0x2D: "MPEG-H audio",
    0x2E: "MPEG-H audio",
    0x32: "JPEG XS video",
    0x33: "VVC video",
    0x42: "AVS video",
    0x80: "LPCM audio",
    0x82: "DTS audio",
    0x83: "TrueHD audio",
    0x85: "DTS-HD audio",
    0x86: "SCTE-35 data",
    0x88: "DTS audio",
    0x8A: "DTS audio",
    0x90: "PGS subtitles",
    0xC1: "encrypted AC-3 audio",
    0xC2: "encrypted E-AC-3 audio",
    0xCF: "encrypted AAC audio",
    0xD1: "Dirac video",
    0xD2: "AVS2 video",
    0xD4: "AVS3 video",
    0xDB: "encrypted H.264 video",
    0xEA: "VC-1 video",
}
REGISTERED = {
    b"AV01": "AV1 video",
    b"av01": "AV1 video",
    b"VP08": "VP8 video",
    b"VP09": "VP9 video",
    b"vp09": "VP9 video",
    b"VVC ": "VVC video",
    b"VC-1": "VC-1 video",
    b"drac": "Dirac video",
    b"avs2": "AVS2 video",
    b"AVSV": "AVS2 video",
    b"avs3": "AVS3 video",
    b"AC-4": "AC-4 audio",
    b"DTS1": "DTS audio",
    b"DTS2": "DTS audio",
    b"DTS3": "DTS audio",
    b"BSSD": "SMPTE 302M audio",
    b"fLaC": "FLAC audio",
    b"mlpa": "TrueHD audio",
    b"KLVA": "KLV data",
    b"ID3 ": "ID3 data",
    b"CUEI": "SCTE-35 data",
}
DESCRIPTORS = {
    0x46: "teletext subtitles",
    0x56: "teletext subtitles",
    0x59: "DVB subtitles",
    0x7B: "DTS audio",
}
EXTENSIONS = {0x0E: "DTS-HD audio", 0x15: "AC-4 audio", 0x20: "TTML subtitles"}
OURS = {
    "h264": "H.264 video",
    "hevc": "HEVC video",
    "aac": "AAC audio",
    "opus": "Opus audio",
    "mpeg": "MP2 or MP3 audio",
    "ac3": "AC-3 or E-AC-3 audio",
}


def video_name(codec: str) -> str:
    """Return the name of an RTMP video message's codec: a FOURCC, or a number's stand-in (`video-9`)."""
    return f"{_codec(codec, 'codec')} video"


def audio_name(codec: str) -> str:
    """Return the name of an RTMP audio message's codec: a FOURCC, or a number's stand-in (`audio-7`)."""
    return f"{_codec(codec, 'format')} audio"


def stream_name(kind: int) -> str:
    """Return the name of an MPEG-TS stream by its stream_type."""
    return STREAM_TYPES.get(kind, f"type 0x{kind:02x} data")


def further(codec: str) -> str:
    """Return the name of one more track than are recorded, of a codec that could be."""
    return further_name(OURS[codec])


def further_name(name: str) -> str:
    """Return the name of one more track than are recorded."""
    return f"further {name}"


def is_media(name: str) -> bool:
    """Return whether a name means video or audio."""
    return name.endswith((" video", " audio"))


def _codec(code: str, unnamed: str) -> str:
    if code in CODECS:
        return CODECS[code]
    if len(code) > 4:
        return f"{unnamed} {code.rpartition('-')[2]}"
    return code if code.isascii() and code.isprintable() else "unknown"
