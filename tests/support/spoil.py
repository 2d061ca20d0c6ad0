"""Damages what real encoders send, at every level at which it is parsed, with repeatable random choices."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

from shared.media.crc import crc32
from tests.support import media_flv as flv

Dice = random.Random
Spoil = Callable[[bytes, Dice], bytes]
_EDGES = (0, 1, 3, 0x7F, 0x80, 0xFE, 0xFF)
PACKET = 188
_MARKS = (b"\0\0\1\x67", b"\0\0\1\x68", b"\0\0\1\x40\1", b"\0\0\1\x42\1", b"\0\0\1\x44\1",
          b"\0\0\1\x06", b"\xff\xf1")  # fmt: skip
"""The first bytes of parameter sets, SEI and ADTS headers."""


def some(data: bytes, dice: Dice, *, most: int = 8) -> bytes:
    """Change, remove, repeat and insert a few bytes: for small inputs."""
    out = bytearray(data)
    for _ in range(dice.randrange(1, most + 1)):
        if not out:
            return bytes(out)
        at, kind = dice.randrange(len(out)), dice.randrange(12)
        if kind < 5:
            out[at] ^= 1 << dice.randrange(8)
        elif kind < 8:
            out[at] = dice.choice((*_EDGES, dice.randrange(256)))
        elif kind == 8:
            del out[at : at + dice.randrange(1, 9)]
        elif kind == 9:
            out[at:at] = dice.randbytes(dice.randrange(1, 9))
        elif kind == 10:
            del out[at:]
        else:
            out[at : at + 4] = dice.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\x80\0\0\0"))
    return bytes(out)


def anywhere(data: bytes, dice: Dice) -> bytes:
    """Change bytes anywhere, and remove some."""
    out = bytearray(data)
    for _ in range(dice.choice((1, 5, 50, 300))):
        out[dice.randrange(len(out))] = dice.choice((0, 255, dice.randrange(256)))
    if dice.random() < 0.3:
        at = dice.randrange(len(out))
        del out[at : at + dice.randrange(1, 3000)]
    return bytes(out)


def in_heads(data: bytes, dice: Dice) -> bytes:
    """Change headers: the first bytes of TS packets, or of FLV tags' bodies, above all of configurations."""
    if data[:3] != b"FLV":
        out = bytearray(data)
        for at in range(0, len(out), PACKET):
            if dice.random() < 0.05:
                for _ in range(dice.choice((1, 1, 3))):
                    out[at + dice.randrange(4, 60)] = dice.choice((0, 1, 255, dice.randrange(256)))
        return bytes(out)
    tags = []
    for tag in flv.split(data):
        body = bytearray(tag.body)
        if body and dice.random() < (0.5 if tag.is_config else 0.05):
            for _ in range(dice.choice((1, 2, 5))):
                body[dice.randrange(min(len(body), 40))] = dice.choice((0, 255, dice.randrange(256)))
            body = body[: dice.randrange(len(body) + 1)] if dice.random() < 0.3 else body
        tags.append(tag._replace(body=bytes(body)))
    return flv.join(tags)


def in_sets(data: bytes, dice: Dice) -> bytes:
    """Change only parameter sets, configurations and headers of sound, not the structure around them."""
    if data[:3] == b"FLV":
        tags = [tag._replace(body=tag.body[:2] + some(tag.body[2:], dice)) if tag.kind != flv.SCRIPT
                and tag.is_config and dice.random() < 0.7 else tag for tag in flv.split(data)]  # fmt: skip
        tags += [tag for tag in tags if tag.kind != flv.SCRIPT and dice.random() < 0.02]
        return flv.join(tags)
    out = bytearray(data)
    for mark in _MARKS:
        at = data.find(mark)
        while at >= 0:
            if dice.random() < 0.3:
                for _ in range(dice.choice((1, 2, 6))):
                    out[min(at + len(mark) + dice.randrange(24), len(out) - 1)] ^= 1 << dice.randrange(8)
            at = data.find(mark, at + 1)
    return bytes(out)


def in_tables(data: bytes, dice: Dice) -> bytes:
    """Change program tables but keep their checksums right; repeat them, changed, in the middle of the stream."""
    if data[:3] == b"FLV":
        return in_heads(data, dice)
    packets = [data[at : at + PACKET] for at in range(0, len(data), PACKET)]
    tables = [at for at, packet in enumerate(packets[:40]) if packet[1] & 0x40 and packet[4:6] in (b"\0\0", b"\0\2")]
    kept = [packets[at] for at in tables]
    for at in tables:
        packets[at] = _table(packets[at], dice)
    for _ in range(dice.randrange(1, 12)):
        packet = dice.choice(kept or packets[:2])
        packets.insert(dice.randrange(len(packets)), packet if dice.random() < 0.4 else _table(packet, dice))
    return b"".join(packets)


def _table(packet: bytes, dice: Dice) -> bytes:
    """Change a packet's section, and compute its checksum again."""
    size = 3 + ((packet[6] & 0x0F) << 8 | packet[7])
    body = bytearray(packet[5 : 5 + size - 4])
    pids = (0, 1, 16, 0x100, 0x101, 0x1000, 0x1FFF)
    for _ in range(dice.choice((0, 1, 1, 2, 5))):
        at = dice.randrange(3, len(body)) if len(body) > 3 else 0
        if dice.random() < 0.5 and at + 2 <= len(body):
            body[at : at + 2] = struct.pack(">H", 0xE000 | dice.choice(pids))
        else:
            body[at] = dice.choice((*_EDGES, dice.randrange(256)))
    whole = bytes(body) + struct.pack(">I", crc32(bytes(body)))
    counter = bytes((packet[3] & 0xF0 | dice.randrange(16),))
    return (packet[:3] + counter + b"\0" + whole + packet[5 + size :])[:PACKET].ljust(PACKET, b"\xff")


STREAMS: tuple[Spoil, ...] = (anywhere, in_heads, in_sets, in_tables)
