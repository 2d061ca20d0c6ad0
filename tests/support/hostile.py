"""Malicious files of a few kB to a MB: each claims, changes or repeats what no valid file does."""

from __future__ import annotations

import io
import itertools
import random
import struct
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np

from shared.media.mp4.boxes import box, full_box
from tests.support.bombs import bomb


def coded(codec: str, sizes: list[tuple[int, int]], pixels: str = "yuv420p") -> list[bytes]:
    """Encode a picture of each size, each with its own encoder, as a keyframe with its parameter sets."""
    found = []
    for width, height in sizes:
        encoder = av.CodecContext.create(codec, "w")
        assert isinstance(encoder, av.VideoCodecContext)
        encoder.width, encoder.height, encoder.pix_fmt = width, height, pixels
        encoder.time_base, encoder.thread_count = Fraction(1, 25), 1
        frame = av.VideoFrame.from_ndarray(np.zeros((height, width, 3), np.uint8)).reformat(format=pixels)
        frame.pts = 0
        found.append(b"".join(bytes(packet) for packet in (*encoder.encode(frame), *encoder.encode(None))))
    return found


def muxed(form: str, codec: str, pictures: list[bytes], size: tuple[int, int]) -> bytes:
    """Put pictures into a container, 40 ms each."""
    kept = io.BytesIO()
    with av.open(kept, "w", format=form) as container:
        stream = container.add_stream(codec, rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = *size, "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for number, data in enumerate(pictures):
            packet = av.Packet(data)
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, 1000), True
            packet.pts = packet.dts = 40 * number
            container.mux(packet)
    return kept.getvalue()


def growing_pictures() -> bytes:
    """A Matroska whose JPEGs in the middle claim 16000 pixels a side."""
    (small,) = coded("mjpeg", [(64, 64)], "yuvj420p")
    at = small.index(b"\xff\xc0") + 5
    large = small[:at] + struct.pack(">HH", 16_000, 16_000) + small[at + 4 :]
    return muxed("matroska", "mjpeg", [*[small] * 10, *[large] * 20, *[small] * 10], (64, 64))


def new_parameters_each_picture() -> bytes:
    """An MPEG-TS whose H.264 has other parameter sets with each picture."""
    sizes = [(64 + 16 * (n % 9), 64 + 16 * (n % 7)) for n in range(30)]
    return muxed("mpegts", "libx264", coded("libx264", sizes), (64, 64))


def other_size_each_picture() -> bytes:
    """A Matroska whose VP9 has another size with each picture."""
    sizes = [(64 << n % 4, 512 >> n % 4) for n in range(30)]
    return muxed("matroska", "libvpx-vp9", coded("libvpx-vp9", sizes), (64, 64))


def a_hundred_thousand_tracks() -> bytes:
    """An mp4 of nothing but tracks."""
    head = struct.pack(">IIIIIH10x", 0, 0, 1000, 1000, 0x10000, 0x100) + bytes(64)
    tracks = box(b"trak") * 100_000
    return box(b"ftyp", b"isom", bytes(4), b"isom") + box(b"moov", full_box(b"mvhd", 0, 0, head), tracks)


def boxes_in_boxes() -> bytes:
    """An mp4 of boxes 50,000 deep."""
    depth = 50_000
    heads = b"".join(struct.pack(">I4s", 8 * (depth - n), b"trak") for n in range(depth))
    return box(b"ftyp", b"isom", bytes(4), b"isom") + box(b"moov", heads) + box(b"mdat", bytes(100))


def many_channels(film: bytes) -> bytes:
    """An mp4 whose AAC claims 48 channels."""
    at = film.index(b"mp4a") + 4
    film = film[: at + 16] + struct.pack(">H", 48) + film[at + 18 :]
    config = film.index(b"\x05\x80\x80\x80", at)
    return film[: config + 6] + bytes((film[config + 6] | 0x78,)) + film[config + 7 :]


def many_opus_channels(film: bytes) -> bytes:
    """A Matroska whose Opus claims 255 channels."""
    at = film.index(b"OpusHead") + 8
    return film[: at + 1] + b"\xff" + film[at + 2 : at + 10] + b"\xff" + film[at + 11 :]


def sound_of_no_length(film: bytes) -> bytes:
    """An FLV of which 20,000 frames of sound have the same time."""
    tags = list(_tags(film[13:]))
    sound = [body for kind, _, body in tags if kind == 8]
    out = film[:13]
    for kind, at, body in tags:
        out += _tag(kind, 0 if kind == 8 else at, body)
        if kind == 9 and at == 0 and sound:
            out += b"".join(_tag(8, 0, part) for part in itertools.islice(itertools.cycle(sound[1:]), 20_000))
            sound = []
    return out


def _tags(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    at = 0
    while at + 11 <= len(data):
        size = int.from_bytes(data[at + 1 : at + 4])
        yield data[at], int.from_bytes(data[at + 4 : at + 7]) | data[at + 7] << 24, data[at + 11 : at + 11 + size]
        at += 15 + size


def _tag(kind: int, at: int, body: bytes) -> bytes:
    head = bytes((kind,)) + len(body).to_bytes(3) + (at & 0xFFFFFF).to_bytes(3) + bytes((at >> 24,)) + bytes(3)
    return head + body + (11 + len(body)).to_bytes(4)


def bits_that_fell(film: bytes) -> bytes:
    """A film in which one byte of each hundred is changed."""
    chance, out = random.Random(1), bytearray(film)
    for _ in range(len(film) // 100):
        out[chance.randrange(2000, len(out))] = chance.randrange(256)
    return bytes(out)


def an_index_of_two_thousand_million() -> bytes:
    """An mp4 whose index has the largest possible count."""
    return bomb(1, (1 << 31) - 1)
