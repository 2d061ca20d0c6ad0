"""Entering an H.264 stream at an I picture that is no IDR, so that any decoder can continue from it.

Encoders with open GOPs send one IDR picture and then I pictures with a recovery point. Such a picture cannot follow
other pictures: its frame number and order count continue from pictures that are missing. Here it becomes an IDR
picture, and the pictures after it are numbered from it. Their coded content stays bit for bit; two fields of fixed size
change in each slice header. Left-out reference pictures, those shown before the entry, become a gap in the numbers.

Sources: ITU-T H.264, 7.3.3 (slice header), 7.4.3 (frame_num, idr_pic_id), 8.2.1 (order count), 8.2.5 (marking), D.2.8.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from shared.media.bitstream.bit_reader import BitReader, unescape
from shared.media.bitstream.bit_writer import BitWriter, escape
from shared.media.bitstream.errors import BitstreamError
from shared.media.bitstream.h264_slice import FIELD, INTRA, B, Command, P, SliceFormat, SliceWalk, slice_formats
from shared.media.bitstream.nal import H264_IDR, H264_SEI, H264_SLICE, is_slice
from shared.media.bitstream.params import nal_type

SEI_RECOVERY_POINT = 6
# Consecutive IDR pictures have different ids; encoders count theirs from 0.
IDR_PIC_ID = 77
_HEADER = 40  # bytes that hold a slice header up to pic_order_cnt_lsb, and more
# How many pictures after the entry may still name reference pictures from before it; decoders keep at most 16.
_EARLY = 64


def recovery_count(nals: Iterable[bytes]) -> int | None:
    """Return after how many frames decoding from this picture is right; None without a recovery point."""
    for nal in nals:
        if nal_type("h264", nal) != H264_SEI:
            continue
        payload = unescape(nal)
        at = 1
        while at + 2 < len(payload):
            kind, at = _sei_number(payload, at)
            size, at = _sei_number(payload, at)
            if kind == SEI_RECOVERY_POINT:
                return BitReader(payload[at : at + size]).ue()
            at += size
    return None


def _sei_number(payload: bytes, at: int) -> tuple[int, int]:
    number = 0
    while at < len(payload) and payload[at] == 0xFF:
        number, at = number + 255, at + 1
    return number + (payload[at] if at < len(payload) else 0), at + 1


def is_intra(nals: Iterable[bytes]) -> bool:
    """Return whether all slices of a picture are I slices."""
    slices = [nal for nal in nals if is_slice("h264", nal)]
    return bool(slices) and all(_slice_type(nal) % 5 == 2 for nal in slices)


def _slice_type(nal: bytes) -> int:
    reader = BitReader(unescape(nal[:_HEADER])[1:])
    reader.ue()
    return reader.ue()


class EntryRenumber:
    """Turns an I picture into an IDR picture, from which the following ones are numbered.

    BitstreamError for streams whose headers cannot be rewritten this way.
    """

    def __init__(self, sets: Sequence[bytes]) -> None:
        self._forms = slice_formats(sets)
        self._frame = self._order = self._pictures = self._reached = 0

    def entry(self, nals: Sequence[bytes]) -> list[bytes]:
        """Rewrite the I picture; following pictures are numbered from it."""
        first = next(nal for nal in nals if is_slice("h264", nal))
        if nal_type("h264", first) != H264_SLICE or not first[0] & 0x60:
            raise BitstreamError("the picture cannot become an IDR picture")
        reader, form, _ = self._begin(unescape(first[:_HEADER]))
        self._frame = reader.bits(form.sps.counts[0])
        if form.field_bits(reader) == FIELD:
            raise BitstreamError("a field cannot become an IDR picture")
        self._order = reader.bits(form.sps.counts[2])
        return [self._idr(nal) if is_slice("h264", nal) else nal for nal in nals]

    def following(self, nals: Iterable[bytes]) -> list[bytes]:
        """Rewrite a picture after the entry and before the next IDR picture."""
        self._pictures += 1
        return [self._counted(nal) if nal_type("h264", nal) == H264_SLICE else nal for nal in nals]

    def _begin(self, payload: bytes) -> tuple[BitReader, SliceFormat, int]:
        """Read a slice header up to its frame number."""
        reader = BitReader(payload[1:])
        reader.ue()
        kind = reader.ue() % 5
        form = self._forms.get(reader.ue())
        if form is None or kind not in (P, B, INTRA):
            raise BitstreamError("slice of an unknown form")
        return reader, form, kind

    def _counted(self, nal: bytes) -> bytes:
        """Renumber a slice from the entry; in the first pictures after it, also drop commands about earlier ones."""
        early = self._pictures <= _EARLY
        end = len(nal) if early else min(_HEADER, len(nal))
        while end < len(nal) and not all(nal[end - 3 : end]):
            end += 1  # no emulation prevention byte may belong to both sides
        payload = unescape(nal[:end])
        reader, form, kind = self._begin(payload)
        bits, _, order_bits = form.sps.counts
        value, left = int.from_bytes(payload, "big"), reader.left
        frame = reader.bits(bits)
        between = form.field_bits(reader)
        order = reader.bits(order_bits)
        number = (frame - self._frame) % (1 << bits)
        self._reached += (number - self._reached) % (1 << bits)
        value += (number - frame) << (left - bits)
        value += ((order - self._order) % (1 << order_bits) - order) << (left - bits - between - order_bits)
        payload = value.to_bytes(len(payload), "big")
        if early and nal[0] & 0x60:
            payload = self._marked(payload, form, kind)
        return escape(payload) + nal[end:]

    def _marked(self, payload: bytes, form: SliceFormat, kind: int) -> bytes:
        reader, _, _ = self._begin(payload)
        reader.bits(form.sps.counts[0])
        field = form.field_bits(reader) == FIELD
        most = 2 * self._reached + 1 if field else self._reached

        def is_there(command: Command) -> bool:
            return command[0] not in (1, 3) or command[1] < most

        reader.bits(form.sps.counts[2])
        begun = 8 * (len(payload) - 1) - reader.left
        walk = SliceWalk(form, kind, reader, None, field=field)
        walk.to_marking()
        if all(map(is_there, walk.marking(is_there))):
            return payload
        out, reader = BitWriter(), BitReader(payload[1:])
        out.bits(payload[0], 8)
        out.copy(reader, begun)
        walk = SliceWalk(form, kind, reader, out, field=field)
        walk.to_marking()
        walk.marking(is_there)
        return walk.finish(payload)

    def _idr(self, nal: bytes) -> bytes:
        payload = unescape(nal)
        reader, form, kind = self._begin(payload)
        out = BitWriter()
        out.bits(payload[0] & 0xE0 | H264_IDR, 8)
        out.copy(BitReader(payload[1:]), 8 * (len(payload) - 1) - reader.left)
        frame_bits, _, order_bits = form.sps.counts
        reader.bits(frame_bits)
        between = form.field_bits(reader)
        reader.bits(order_bits)
        out.bits(0, frame_bits + between)
        out.ue(IDR_PIC_ID)
        out.bits(0, order_bits)
        walk = SliceWalk(form, kind, reader, out)
        walk.to_marking()
        walk.marking(None)
        return escape(walk.finish(payload))
