"""NAL units inside MP4 samples: splitting, joining, and finding how a decoder can enter at a picture.

Sources: ITU-T H.264 (table 7-1, D.1), ITU-T H.265 (table 7-1, 7.4.2.2), ISO/IEC 14496-15 (4.3.3).
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from shared.media.bitstream.errors import BitstreamError
from shared.media.bitstream.params import nal_type, set_types
from shared.media.tracks import VideoCodec

H264_SLICE, H264_IDR, H264_SEI, H264_AUD = 1, 5, 6, 9
HEVC_CRA, HEVC_BLA_N_LP, HEVC_AUD, HEVC_SEI_PREFIX, HEVC_SEI_SUFFIX = 21, 18, 35, 39, 40
HEVC_BLA = frozenset((16, 17, 18))
HEVC_IDR = frozenset((19, 20))
SEI_CAPTIONS = 4  # payload type of an SEI message (D.1.1)


class RandomAccess(Enum):
    """What happens when a decoder starts at a picture."""

    CLEAN = "idr"  # no later picture refers to an earlier one
    LEADING = "cra"  # pictures shown before it may refer to earlier ones
    RECOVERY = "recovery"  # an H.264 I picture that is no IDR: frame numbers continue from before it
    NONE = "none"


def split_sample(sample: bytes, length_size: int) -> list[bytes]:
    """Split a sample of length-prefixed NAL units; BitstreamError when a length runs past its end."""
    nals: list[bytes] = []
    at = 0
    while at < len(sample):
        size = int.from_bytes(sample[at : at + length_size], "big")
        at += length_size
        if at + size > len(sample):
            raise BitstreamError(f"NAL unit of {size} bytes runs past its sample of {len(sample)}")
        if size:
            nals.append(sample[at : at + size])
        at += size
    return nals


def join_sample(nals: Iterable[bytes], length_size: int) -> bytes:
    """Join NAL units into a sample; BitstreamError when one is too long for its length field."""
    try:
        return b"".join(len(nal).to_bytes(length_size, "big") + nal for nal in nals)
    except OverflowError as error:
        raise BitstreamError(f"NAL unit does not fit a length of {length_size} bytes") from error


def is_slice(codec: VideoCodec, nal: bytes) -> bool:
    """Return whether a NAL unit carries picture data."""
    kind = nal_type(codec, nal)
    return H264_SLICE <= kind <= H264_IDR if codec == "h264" else kind < 32


def entry_of(codec: VideoCodec, nals: Iterable[bytes]) -> RandomAccess:
    """Return how a decoder can enter at the picture made of `nals`."""
    first = next((nal for nal in nals if is_slice(codec, nal)), None)
    if first is None:
        return RandomAccess.NONE
    kind = nal_type(codec, first)
    if codec == "h264":
        return RandomAccess.CLEAN if kind == H264_IDR else RandomAccess.RECOVERY
    if kind in HEVC_IDR or kind in HEVC_BLA:
        return RandomAccess.CLEAN
    return RandomAccess.LEADING if kind == HEVC_CRA else RandomAccess.NONE


def break_link(nals: Iterable[bytes]) -> list[bytes]:
    """Turn an HEVC CRA picture without leading pictures into a BLA picture (the standard's own splice mark).

    Only the type in the NAL header changes: a BLA resets the picture order count and drops all references, so that
    earlier pictures no longer matter (H.265 8.1.3).
    """
    out = []
    for nal in nals:
        is_cra = nal_type("hevc", nal) == HEVC_CRA
        out.append(bytes((nal[0] & 0x81 | HEVC_BLA_N_LP << 1,)) + nal[1:] if is_cra else nal)
    return out


def sei_type(codec: VideoCodec, nal: bytes) -> int | None:
    """Read the payload type of an SEI unit's first message; None when the unit is no SEI."""
    kinds = (H264_SEI,) if codec == "h264" else (HEVC_SEI_PREFIX, HEVC_SEI_SUFFIX)
    if nal_type(codec, nal) not in kinds:
        return None
    kind = 0
    for byte in nal[1 if codec == "h264" else 2 :]:
        kind += byte
        if byte != 0xFF:
            break
    return kind


def encoder_nals(codec: VideoCodec, nals: Iterable[bytes]) -> list[bytes]:
    """Keep an encoder's pictures and captions; drop parameter sets, delimiters and its signature (SEI)."""
    delimiter = H264_AUD if codec == "h264" else HEVC_AUD
    unwanted = {delimiter, *set_types(codec)}
    return [
        nal for nal in nals if nal_type(codec, nal) not in unwanted and sei_type(codec, nal) in (None, SEI_CAPTIONS)
    ]
