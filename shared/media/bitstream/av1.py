"""AV1: splitting samples into OBUs, reading sequence headers, and finding where a decoder can start.

Sources: AV1 Bitstream & Decoding Process Specification (5.3, 5.5, 5.8, 5.9.2, 7.5), AV1 Codec ISO Media File Format
Binding (2.3 av1C, 2.4 samples).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from shared.media.bitstream.bit_reader import BitReader
from shared.media.bitstream.errors import BitstreamError
from shared.media.bitstream.look import UNSPECIFIED, Colour
from shared.media.bitstream.picture_form import PictureForm

SEQUENCE_HEADER, TEMPORAL_DELIMITER, FRAME_HEADER, METADATA, FRAME, TILE_LIST, PADDING = 1, 2, 3, 5, 6, 8, 15
# MP4 has no delimiters, tile lists or padding (Binding, 2.4).
_DROPPED = frozenset((TEMPORAL_DELIMITER, TILE_LIST, PADDING))
CONTENT_LIGHT, MASTERING_DISPLAY, ITU_T35 = 1, 2, 4
"""Types of metadata."""
MOST_OBUS = 1024
_BT709, _SRGB, _IDENTITY = 1, 13, 0


class Obu(NamedTuple):
    """An OBU: its type, its content, and all its bytes with a size field."""

    kind: int
    body: bytes
    whole: bytes

    @property
    def shows(self) -> bool:
        """Whether it is a frame's header, and a picture is shown by it."""
        return self._is_header and bool(self.body[0] & 0x80 or self.body[0] & 0x10)

    @property
    def is_key(self) -> bool:
        """Whether it is the header of a key frame that is shown: it needs no other, and all others are forgotten."""
        return self._is_header and self.body[0] & 0xF0 == 0x10

    @property
    def metadata(self) -> int | None:
        """The type of metadata; None for another OBU."""
        return self.body[0] if self.kind == METADATA and self.body else None

    @property
    def _is_header(self) -> bool:
        # show_existing_frame, frame_type (2 bits, 0 is a key frame), show_frame
        return self.kind in (FRAME_HEADER, FRAME) and bool(self.body)


def split_obus(data: bytes) -> Iterator[Obu]:
    """Yield the OBUs that a sample keeps, each with a size field; BitstreamError when one is cut short."""
    at, end = 0, len(data)
    for _ in range(MOST_OBUS):
        if at >= end:
            return
        head, body = data[at], at + 1 + (data[at] >> 2 & 1)
        if head & 0x80:
            raise BitstreamError("no OBU begins with that bit")
        after = end
        if head & 2:
            size, body = _leb128(data, body)
            after = body + size
        if after > end or body > end:
            raise BitstreamError("OBU runs past its sample")
        kind = head >> 3 & 15
        if kind not in _DROPPED:
            content = data[body:after]
            whole = data[at:after] if head & 2 else _sized(data[at : at + 1 + (head >> 2 & 1)], content)
            yield Obu(kind, content, whole)
        at = after
    if at < end:
        raise BitstreamError(f"more than {MOST_OBUS} OBUs")


def joined(obus: Iterable[Obu]) -> bytes:
    """Return a sample."""
    return b"".join(obu.whole for obu in obus)


def is_entry(obus: Iterable[Obu]) -> bool:
    """Return whether a decoder can start at a sample: its first frame is a key frame, and shown."""
    first = next((obu for obu in obus if obu.kind in (FRAME_HEADER, FRAME)), None)
    return first is not None and first.is_key


def scene_obus(obus: Iterable[Obu]) -> list[Obu]:
    """Return the metadata that describe the colour of a whole scene (HDR); joined pictures repeat them."""
    return [obu for obu in obus if obu.metadata in (CONTENT_LIGHT, MASTERING_DISPLAY)]


def with_scene(sample: bytes, scene: Iterable[bytes]) -> bytes:
    """Return a sample with metadata OBUs after its sequence header."""
    obus = list(split_obus(sample))
    at = next((number + 1 for number, obu in enumerate(obus) if obu.kind == SEQUENCE_HEADER), 0)
    return b"".join((joined(obus[:at]), *scene, joined(obus[at:])))


def sequence_of(data: bytes) -> Obu | None:
    """Return the first sequence header among OBUs."""
    return next((obu for obu in split_obus(data) if obu.kind == SEQUENCE_HEADER), None)


def build_av1c(sequence: Obu) -> bytes:
    """Build an av1C record with a sequence header."""
    form = read_sequence(sequence.body)
    formats = form.tier << 7 | (form.depth > 8) << 6 | (form.depth > 10) << 5 | (not form.chroma) << 4
    formats |= (form.chroma < 3) << 3 | (form.chroma < 2) << 2 | form.chroma_place
    return bytes((0x81, form.profile << 5 | form.level, formats, 0)) + sequence.whole


def read_sequence(body: bytes) -> PictureForm:
    """Read a sequence header OBU's content (5.5); Mp4Error when it is cut short."""
    reader = BitReader(body[:128])
    profile = reader.bits(3)
    reader.flag()  # still_picture
    reduced = reader.flag()
    level, tier = (reader.bits(5), 0) if reduced else _operating_points(reader)
    wide, high = reader.bits(4) + 1, reader.bits(4) + 1
    width, height = reader.bits(wide) + 1, reader.bits(high) + 1
    if not reduced and reader.flag():
        reader.bits(7)  # frame ids
    reader.bits(3)  # superblocks, filter_intra, intra_edge_filter
    if not reduced:
        _tools(reader)
    reader.bits(3)  # superres, cdef, restoration
    return _colour(reader, PictureForm(width, height, profile, level, tier))


def _operating_points(reader: BitReader) -> tuple[int, int]:
    """Skip timing; return level and tier of the first operating point."""
    delay = 0
    if reader.flag():
        reader.bits(64)
        if reader.flag():
            reader.ue()  # num_ticks_per_picture
        if reader.flag():
            delay = reader.bits(5) + 1
            reader.bits(42)
    displayed = reader.flag()
    found: list[tuple[int, int]] = []
    for _ in range(reader.bits(5) + 1):
        reader.bits(12)
        level = reader.bits(5)
        found.append((level, reader.bits(1) if level > 7 else 0))
        if delay and reader.flag():
            reader.bits(2 * delay + 1)
        if displayed and reader.flag():
            reader.bits(4)
    return found[0]


def _tools(reader: BitReader) -> None:
    reader.bits(4)  # interintra, masked, warped, dual_filter
    ordered = reader.flag()
    if ordered:
        reader.bits(2)
    forced = True if reader.flag() else reader.flag()  # seq_choose_screen_content_tools
    if forced and not reader.flag():  # seq_choose_integer_mv
        reader.flag()
    if ordered:
        reader.bits(3)


def _colour(reader: BitReader, form: PictureForm) -> PictureForm:
    """Read color_config (5.5.2)."""
    deep = reader.flag()
    depth = (12 if form.profile == 2 and reader.flag() else 10) if deep else 8
    grey = form.profile != 1 and reader.flag()
    told = (UNSPECIFIED, UNSPECIFIED, UNSPECIFIED)
    described = reader.flag()
    if described:
        told = (reader.bits(8), reader.bits(8), reader.bits(8))
    place = 0
    if not grey and told == (_BT709, _SRGB, _IDENTITY):
        full, chroma = True, 3
    else:
        full = reader.flag()
        chroma = 0 if grey else _chroma(reader, form.profile, depth)
        place = reader.bits(2) if chroma == 1 else 0
    colour = Colour(*told, full) if described or full else None
    return form._replace(depth=depth, chroma=chroma, chroma_place=place, colour=colour)


def _chroma(reader: BitReader, profile: int, depth: int) -> int:
    if profile < 2:
        return 3 if profile else 1
    if depth < 12:
        return 2
    if not reader.flag():
        return 3
    return 1 if reader.flag() else 2


def _leb128(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for count in range(8):
        if at >= len(data):
            break
        value |= (data[at] & 0x7F) << 7 * count
        at += 1
        if not data[at - 1] & 0x80:
            return value, at
    raise BitstreamError("OBU size is cut short")


def _sized(head: bytes, content: bytes) -> bytes:
    """Add a size field to an OBU."""
    size, out = len(content), bytearray((head[0] | 2, *head[1:]))
    while size > 0x7F:
        out.append(size & 0x7F | 0x80)
        size >>= 7
    out.append(size)
    return bytes(out) + content
