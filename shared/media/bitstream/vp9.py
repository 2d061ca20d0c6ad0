"""VP9: reading the headers of key frames, superframes, and the vpcC record.

Sources: VP9 Bitstream & Decoding Process Specification (6.2, 7.2, annex B superframes), VP Codec ISO Media File Format
Binding 1.0 (vpcC, levels).
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from shared.media.bitstream.bit_reader import BitReader
from shared.media.bitstream.errors import BitstreamError
from shared.media.bitstream.look import UNSPECIFIED, Colour
from shared.media.bitstream.picture_form import PictureForm

_SYNC_CODE = 0x498342
# color_space to matrix, transfer and primaries of ITU-T H.273 are one number in VP9: only the matrix is sure.
_MATRICES = {1: 5, 2: 1, 3: 6, 4: 7, 5: 9, 7: 0}
_RGB = 7
# Level, most luma samples a second, most luma samples a picture.
LEVELS = (
    (10, 829_440, 36_864), (11, 2_764_800, 73_728), (20, 4_608_000, 122_880), (21, 9_216_000, 245_760),
    (30, 20_736_000, 552_960), (31, 36_864_000, 983_040), (40, 83_558_400, 2_228_224), (41, 160_432_128, 2_228_224),
    (50, 311_951_360, 8_912_896), (51, 588_251_136, 8_912_896), (52, 1_176_502_272, 8_912_896),
    (60, 1_176_502_272, 35_651_584), (61, 2_353_004_544, 35_651_584), (62, 4_706_009_088, 35_651_584),
)  # fmt: skip


def level_of(width: int, height: int, rate: Fraction | int) -> int:
    """Return the lowest level that allows pictures of a size at a rate."""
    size = width * height
    return next((level for level, speed, most in LEVELS if size <= most and size * rate <= speed), LEVELS[-1][0])


def is_entry(sample: bytes) -> bool:
    """Return whether a decoder can start at a sample: its first frame is a key frame."""
    reader = BitReader(sample[:2].ljust(2, b"\xff"))
    return _begins(reader) is not None and not reader.flag()


def shows(frame: bytes) -> bool:
    """Return whether a frame is shown; of a superframe, its last one."""
    last = split_superframe(frame)[-1]
    reader = BitReader(last[:2].ljust(2, b"\xff"))
    if _begins(reader) is None:
        return True  # an existing one is shown, or it is no frame
    reader.flag()
    return reader.flag()


def _begins(reader: BitReader) -> int | None:
    """Read up to frame_type; return the profile, or None where an existing frame is shown or it is no frame."""
    if reader.bits(2) != 2:
        return None
    profile = reader.bits(1) | reader.bits(1) << 1
    if profile == 3 and reader.flag():
        return None
    return None if reader.flag() else profile


def read_key(sample: bytes) -> PictureForm:
    """Read a key frame's header (6.2); the level is 0. BitstreamError, Mp4Error when it makes no sense."""
    reader = BitReader(sample[:24])
    profile = _begins(reader)
    if profile is None or reader.bits(3) & 4 or reader.bits(24) != _SYNC_CODE:
        raise BitstreamError("no key frame of VP9")
    depth = 8 if profile < 2 else 12 if reader.flag() else 10
    space = reader.bits(3)
    chroma, full = 1, True
    if space != _RGB:
        full = reader.flag()
        if profile & 1:
            chroma = {0: 3, 2: 2, 3: 1}.get(reader.bits(2), 2)
            reader.flag()
    else:
        chroma = 3
        reader.bits(profile & 1)
    width, height = reader.bits(16) + 1, reader.bits(16) + 1
    matrix = _MATRICES.get(space, UNSPECIFIED)
    colour = Colour(UNSPECIFIED, UNSPECIFIED, matrix, full) if matrix != UNSPECIFIED or full else None
    return PictureForm(width, height, profile, 0, depth=depth, chroma=chroma, colour=colour)


def split_superframe(sample: bytes) -> list[bytes]:
    """Return a superframe's frames (annex B); of another sample, itself."""
    mark = sample[-1] if sample else 0
    width, count = (mark >> 3 & 3) + 1, (mark & 7) + 1
    index = len(sample) - width * count - 2
    if mark & 0xE0 != 0xC0 or index < 0 or sample[index] != mark:
        return [sample]
    sizes = [int.from_bytes(sample[at : at + width], "little") for at in range(index + 1, len(sample) - 1, width)]
    ends = [sum(sizes[: number + 1]) for number in range(count)]
    frames = [sample[end - size : end] for end, size in zip(ends, sizes, strict=True) if size]
    return frames if frames and ends[-1] <= index else [sample]


def join_superframe(frames: Sequence[bytes]) -> bytes:
    """Return one sample of several frames, of which only the last is shown. BitstreamError for more than eight."""
    if len(frames) == 1:
        return frames[0]
    if len(frames) > 8:
        raise BitstreamError(f"superframe of {len(frames)} frames")
    width = (max(map(len, frames)).bit_length() + 7) // 8
    mark = bytes((0xC0 | width - 1 << 3 | len(frames) - 1,))
    return b"".join((*frames, mark, *(len(frame).to_bytes(width, "little") for frame in frames), mark))


def build_vpcc(form: PictureForm) -> bytes:
    """Build a vpcC record, with the version and flags that it begins with."""
    primaries, transfer, matrix, full = form.colour or Colour(UNSPECIFIED, UNSPECIFIED, UNSPECIFIED, full=False)
    chroma = max(form.chroma, 1)
    formats = form.depth << 4 | chroma << 1 | full
    return bytes((1, 0, 0, 0, form.profile, form.level, formats, primaries, transfer, matrix, 0, 0))


def read_vpcc(record: bytes, width: int, height: int) -> PictureForm:
    """Read a vpcC record, which has no size. BitstreamError when it is cut short or of another version."""
    if len(record) < 12 or record[0] != 1:
        raise BitstreamError("vpcC of an unknown form")
    formats, told = record[6], (record[7], record[8], record[9])
    full = bool(formats & 1)
    colour = Colour(*told, full) if full or set(told) != {UNSPECIFIED} else None
    chroma = max(formats >> 1 & 7, 1)
    return PictureForm(width, height, record[4], record[5], depth=formats >> 4, chroma=min(chroma, 3), colour=colour)
