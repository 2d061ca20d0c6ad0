"""SEI messages of H.264 and HEVC: reading them, and taking those along that belong to a scene or a picture.

Sources: ITU-T H.264 (7.3.2.3, annex D), ITU-T H.265 (7.3.2.4, annex D).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Final

from shared.media.bitstream.bit_reader import unescape
from shared.media.bitstream.bit_writer import escape
from shared.media.bitstream.nal import H264_SEI, HEVC_SEI_PREFIX, is_slice
from shared.media.bitstream.params import VideoCodec, nal_type

ITU_T35, ORIENTATION, MASTERING_DISPLAY, CONTENT_LIGHT, TRANSFER, AMBIENCE = 4, 47, 137, 144, 147, 148
SCENE: Final = frozenset((MASTERING_DISPLAY, CONTENT_LIGHT, TRANSFER, AMBIENCE, ORIENTATION))
"""Messages about a whole scene: HDR10's light, the transfer that HLG prefers, the light around, how it is turned."""
PICTURE: Final = frozenset((ITU_T35, ORIENTATION))
"""Messages of one picture: captions and dynamic HDR (T.35), and how it is turned."""
MOST_MESSAGES: Final = 64
MOST_BYTES: Final = 4096
"""So much of an SEI unit is looked through by who only looks. Whoever sends more only loses what it says."""
LONGEST: Final = 1 << 18


def sei_messages(codec: VideoCodec, nal: bytes, most: int = MOST_BYTES) -> Iterator[tuple[int, bytes]]:
    """Yield type and payload of an SEI unit's first messages.

    A payload that claims more than there is gets what there is: Moblin counts emulation prevention bytes.
    """
    data = unescape(nal[:most])
    at, end = 1 if codec == "h264" else 2, len(data)
    for _ in range(MOST_MESSAGES):
        if end - at <= 2:
            return
        sizes = []
        for _ in range(2):
            total = 0
            while at < end and data[at] == 0xFF:
                total, at = total + 255, at + 1
            if at >= end:
                return
            sizes.append(total + data[at])
            at += 1
        kind, size = sizes
        yield kind, data[at : at + size]
        at += size


def sei_unit(codec: VideoCodec, kind: int, payload: bytes) -> bytes:
    """Build an SEI unit of one message."""
    head = bytes((H264_SEI,)) if codec == "h264" else bytes((HEVC_SEI_PREFIX << 1, 1))
    return escape(b"".join((head, _number(kind), _number(len(payload)), payload, b"\x80")))


def picked(codec: VideoCodec, nals: Iterable[bytes], kinds: Collection[int]) -> list[tuple[int, bytes]]:
    """Return the messages of some types before a picture's first slice."""
    found: list[tuple[int, bytes]] = []
    wanted = H264_SEI if codec == "h264" else HEVC_SEI_PREFIX
    for nal in nals:
        if is_slice(codec, nal):
            break
        if nal_type(codec, nal) == wanted:
            found += [one for one in sei_messages(codec, nal, LONGEST) if one[0] in kinds]
    return found


def static_sei(codec: VideoCodec, nals: Iterable[bytes]) -> list[bytes]:
    """Return SEI units with the messages about a whole scene; joined pictures repeat them."""
    return [sei_unit(codec, *one) for one in picked(codec, nals, SCENE)]


def picture_sei(codec: VideoCodec, nals: Iterable[bytes]) -> list[bytes]:
    """Return SEI units with the messages about one picture, in their order."""
    return [sei_unit(codec, *one) for one in picked(codec, nals, PICTURE)]


def with_picture_sei(codec: VideoCodec, nals: Iterable[bytes], units: Iterable[bytes]) -> list[bytes]:
    """Return a picture's units with these messages of its own in place of the encoder's."""
    units = list(units)
    told = {ITU_T35, *(kind for unit in units for kind, _ in sei_messages(codec, unit))}
    kept = [nal for nal in nals if is_slice(codec, nal) or not _has(codec, nal, told)]
    first = next((number for number, nal in enumerate(kept) if is_slice(codec, nal)), 0)
    return [*kept[:first], *units, *kept[first:]]


def _has(codec: VideoCodec, nal: bytes, kinds: Collection[int]) -> bool:
    wanted = H264_SEI if codec == "h264" else HEVC_SEI_PREFIX
    return nal_type(codec, nal) == wanted and any(kind in kinds for kind, _ in sei_messages(codec, nal))


def _number(value: int) -> bytes:
    return b"\xff" * (value // 255) + bytes((value % 255,))
