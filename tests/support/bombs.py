"""Malicious files, and the processes that read them."""

from __future__ import annotations

import struct
from pathlib import Path

from services.restreamer.sources.apart.children import Children
from shared.media.mp4.boxes import box, full_box


def pids(family: Children) -> list[int]:
    """List the processes of a family."""
    zygote = family.zygote
    assert zygote is not None
    return [int(pid) for pid in Path(f"/proc/{zygote}/task/{zygote}/children").read_text().split()]


def bomb(tracks: int, samples: int) -> bytes:
    """Make an mp4 of some kB whose tracks claim millions of samples of constant size."""
    matrix = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    entry = struct.pack(">6xH16xHHIIIH32xHh", 1, 320, 180, 0x480000, 0x480000, 0, 1, 24, -1)
    record = bytes.fromhex("0142c01effe1001c6742c01ed9014016ec04400000030040000007a3c58b9201000468cb83cb")
    table = box(
        b"stbl",
        full_box(b"stsd", 0, 0, struct.pack(">I", 1), box(b"avc1", entry, box(b"avcC", record))),
        full_box(b"stts", 0, 0, struct.pack(">III", 1, samples, 1)),
        full_box(b"stsc", 0, 0, struct.pack(">IIII", 1, 1, samples, 1)),
        full_box(b"stsz", 0, 0, struct.pack(">II", 1, samples)),
        full_box(b"stco", 0, 0, struct.pack(">II", 1, 0x2000)),
    )
    url = full_box(b"url ", 0, 1)
    info = box(
        b"minf", full_box(b"vmhd", 0, 1, bytes(8)),
        box(b"dinf", full_box(b"dref", 0, 0, struct.pack(">I", 1), url)), table,
    )  # fmt: skip
    media = box(
        b"mdia", full_box(b"mdhd", 0, 0, struct.pack(">IIII", 0, 0, 90000, samples), b"\x55\xc4\0\0"),
        full_box(b"hdlr", 0, 0, bytes(4), b"vide", bytes(12), b"x\0"), info,
    )  # fmt: skip
    shown = struct.pack(">8xHHH2x", 0, 0, 0) + matrix + struct.pack(">II", 320 << 16, 180 << 16)
    boxes = [
        box(b"trak", full_box(b"tkhd", 0, 3, struct.pack(">III4xI", 0, 0, n + 1, samples), shown), media)
        for n in range(tracks)
    ]
    head = struct.pack(">IIIIIH10x", 0, 0, 90000, samples, 0x10000, 0x100)
    moov = box(b"moov", full_box(b"mvhd", 0, 0, head, matrix, bytes(24), struct.pack(">I", tracks + 1)), *boxes)
    return box(b"ftyp", b"isom", struct.pack(">I", 1), b"isommp42") + moov + box(b"mdat", bytes(4096))
