"""Captions that tell a frame's number: CEA-708 data as H.264, HEVC and AV1 carry them, and as a decoder gives them.

Sources: ATSC A/53 part 4 (6.2.3), CTA-708 (4.4), ITU-T H.264 and H.265 (D.1.6, user_data_registered_itu_t_t35).
"""

from __future__ import annotations

import av
from av.sidedata.sidedata import Type


def payload(number: int) -> bytes:
    """Return a T.35 message: a pair of CEA-608 with the frame's number, and one of CEA-708 of zeros."""
    pair = bytes((0xFC, 0x20 + number // 64, 0x20 + number % 64))
    return b"\xb5\x00\x31GA94\x03" + bytes((0x40 | 2, 0xFF)) + pair + b"\xfe\x00\x00" + b"\xff"


def unit(codec: str, number: int, *, shared: bool) -> bytes:
    """Return a NAL unit or OBU with a frame's captions, `shared` with another message."""
    data = payload(number)
    if codec == "av1":
        body = b"\x04" + data + b"\x80"
        return b"\x2a" + bytes((len(body),)) + body
    messages = b"\x04" + bytes((len(data),)) + data
    if shared:
        other = bytes(16) + b"Reelay"
        messages = b"\x05" + bytes((len(other),)) + other + messages
    head = b"\x06" if codec == "h264" else b"\x4e\x01"
    return escaped(head + messages + b"\x80")


def escaped(data: bytes) -> bytes:
    out, zeros = bytearray(), 0
    for byte in data:
        if zeros >= 2 and byte <= 3:
            out.append(3)
            zeros = 0
        out.append(byte)
        zeros = zeros + 1 if not byte else 0
    return bytes(out)


def captioned(codec: str, sample: bytes, number: int, *, shared: bool = False) -> bytes:
    """Return a picture's sample with captions before its first slice or frame."""
    own = unit(codec, number, shared=shared)
    at = 0
    if codec == "av1":
        while sample[at] >> 3 & 15 in (1, 2, 5):  # sequence header, delimiter, metadata, all short
            at += 2 + sample[at + 1]
        return sample[:at] + own + sample[at:]
    slices = range(1, 6) if codec == "h264" else range(32)
    while (sample[at + 4] & 31 if codec == "h264" else sample[at + 4] >> 1 & 63) not in slices:
        at += 4 + int.from_bytes(sample[at : at + 4], "big")
    return sample[:at] + len(own).to_bytes(4, "big") + own + sample[at:]


def numbers(path: str) -> list[list[int]]:
    """Decode a file; return the numbers in each frame's captions, in order of presentation."""
    found = []
    with av.open(path) as container:
        for frame in container.decode(video=0):
            side = frame.side_data.get(Type.A53_CC)
            data = bytes(side) if side is not None else b""
            triples = [data[at : at + 3] for at in range(0, len(data), 3)]
            found.append([(b - 0x20) * 64 + c - 0x20 for a, b, c in triples if a == 0xFC])
    return found
