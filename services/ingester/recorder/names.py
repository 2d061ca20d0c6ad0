"""Names of what is not recorded, for people: "video: AV1", "audio: MP3", "subtitles: DVB", "data: SCTE-35".

Sources: Adobe, "Video File Format 10.1" (E.4.2.1, E.4.3.1), Veovera, "Enhanced RTMP v2", ISO/IEC 13818-1 (table 2-34),
ETSI EN 300 468 (table 12), the SMPTE registry of format identifiers.
"""

from __future__ import annotations

FLV_VIDEO = {
    2: "Sorenson H.263",
    3: "Screen Video",
    4: "VP6",
    5: "VP6 with alpha",
    6: "Screen Video 2",
    8: "H.263",
    9: "MPEG-4 Visual",
    13: "AV1",
}
FLV_AUDIO = {
    0: "PCM",
    1: "ADPCM",
    2: "MP3",
    3: "PCM",
    4: "Nellymoser",
    5: "Nellymoser",
    6: "Nellymoser",
    7: "G.711 A-law",
    8: "G.711 mu-law",
    11: "Speex",
    14: "MP3",
    15: "of a device's own",
}
FOURCC = {
    b"av01": "AV1",
    b"vp08": "VP8",
    b"vp09": "VP9",
    b"vvc1": "VVC",
    b"avc1": "H.264",
    b"hvc1": "HEVC",
    b"mp4v": "MPEG-4 Visual",
    b"ac-3": "AC-3",
    b"ec-3": "E-AC-3",
    b".mp3": "MP3",
    b"fLaC": "FLAC",
    b"mp4a": "AAC",
    b"Opus": "Opus",
}
STREAM_TYPES = {
    0x01: "video: MPEG-1",
    0x02: "video: MPEG-2",
    0x03: "audio: MP2 or MP3",
    0x04: "audio: MP2 or MP3",
    0x05: "data: private tables",
    0x0A: "data: DSM-CC",
    0x0B: "data: DSM-CC",
    0x0C: "data: DSM-CC",
    0x0D: "data: DSM-CC",
    0x10: "video: MPEG-4 Visual",
    0x11: "audio: AAC in LATM",
    0x15: "data: timed metadata",
    0x1C: "audio: raw AAC",
    0x1F: "video: H.264 SVC",
    0x20: "video: H.264 MVC",
    0x21: "video: JPEG 2000",
    0x2D: "audio: MPEG-H",
    0x2E: "audio: MPEG-H",
    0x32: "video: JPEG XS",
    0x33: "video: VVC",
    0x42: "video: AVS",
    0x80: "audio: LPCM",
    0x81: "audio: AC-3",
    0x82: "audio: DTS",
    0x83: "audio: TrueHD",
    0x84: "audio: E-AC-3",
    0x85: "audio: DTS-HD",
    0x86: "data: SCTE-35",
    0x87: "audio: E-AC-3",
    0x88: "audio: DTS",
    0x8A: "audio: DTS",
    0x90: "subtitles: PGS",
    0xC1: "audio: encrypted AC-3",
    0xC2: "audio: encrypted E-AC-3",
    0xCF: "audio: encrypted AAC",
    0xD1: "video: Dirac",
    0xD2: "video: AVS2",
    0xD4: "video: AVS3",
    0xDB: "video: encrypted H.264",
    0xEA: "video: VC-1",
}
REGISTERED = {
    b"AV01": "video: AV1",
    b"av01": "video: AV1",
    b"VP08": "video: VP8",
    b"VP09": "video: VP9",
    b"vp09": "video: VP9",
    b"VVC ": "video: VVC",
    b"VC-1": "video: VC-1",
    b"drac": "video: Dirac",
    b"avs2": "video: AVS2",
    b"AVSV": "video: AVS2",
    b"avs3": "video: AVS3",
    b"AC-3": "audio: AC-3",
    b"EAC3": "audio: E-AC-3",
    b"AC-4": "audio: AC-4",
    b"DTS1": "audio: DTS",
    b"DTS2": "audio: DTS",
    b"DTS3": "audio: DTS",
    b"BSSD": "audio: SMPTE 302M",
    b"fLaC": "audio: FLAC",
    b"mlpa": "audio: TrueHD",
    b"KLVA": "data: KLV",
    b"ID3 ": "data: ID3",
    b"CUEI": "data: SCTE-35",
}
DESCRIPTORS = {
    0x46: "subtitles: teletext",
    0x56: "subtitles: teletext",
    0x59: "subtitles: DVB",
    0x6A: "audio: AC-3",
    0x7A: "audio: E-AC-3",
    0x7B: "audio: DTS",
}
EXTENSIONS = {0x0E: "audio: DTS-HD", 0x15: "audio: AC-4", 0x20: "subtitles: TTML"}
OURS = {"h264": "video: H.264", "hevc": "video: HEVC", "aac": "audio: AAC", "opus": "audio: Opus"}


def video_name(number: int, fourcc: bytes) -> str:
    """Name an FLV video codec by its number, or by its FOURCC if it has one."""
    return f"video: {_fourcc(fourcc) if fourcc else FLV_VIDEO.get(number, f'codec {number}')}"


def audio_name(number: int, fourcc: bytes) -> str:
    """Name an FLV sound format by its number, or by its FOURCC if it has one."""
    return f"audio: {_fourcc(fourcc) if fourcc else FLV_AUDIO.get(number, f'format {number}')}"


def stream_name(kind: int) -> str:
    """Name an MPEG-TS stream by its stream_type."""
    return STREAM_TYPES.get(kind, f"data: stream type 0x{kind:02x}")


def further(codec: str) -> str:
    """Name a track of a codec that is recorded, but not twice."""
    return f"{OURS[codec]}, a further track"


def _fourcc(code: bytes) -> str:
    text = code.decode("latin-1")
    return FOURCC.get(code) or (text if text.isascii() and text.isprintable() else "an unknown codec")
