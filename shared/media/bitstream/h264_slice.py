"""H.264 slice headers: reading them up to a field, and rewriting them with other reference picture marking.

Sources: ITU-T H.264, 7.3.2.2 (PPS), 7.3.3 (slice header), 7.3.3.1 to 7.3.3.3 (reference lists, weights, marking).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from shared.media.bitstream.bit_reader import BitReader, unescape
from shared.media.bitstream.bit_writer import BitWriter, stop_bit_left
from shared.media.bitstream.errors import BitstreamError
from shared.media.bitstream.h264_sps import H264Sps, parse_h264_sps
from shared.media.bitstream.params import H264_PPS, H264_SPS, nal_type

P, B, INTRA = 0, 1, 2  # slice_type modulo 5 (table 7-6)
NO_FILTER = 1  # disable_deblocking_filter_idc: no offsets follow
LAST_COMMANDS = 64
FIELD = 2  # bits between frame_num and order count in a field: field_pic_flag, bottom_field_flag
# How many numbers follow a memory_management_control_operation (7.3.3.3).
_NUMBERS = {1: 1, 2: 1, 3: 2, 4: 1, 5: 0, 6: 1}
Command = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SliceFormat:
    """What a slice header's syntax depends on: its SPS, and flags and counts of its PPS."""

    sps: H264Sps
    cabac: bool
    bottom: bool
    references: tuple[int, int]
    weighted: tuple[bool, int]
    deblocking: bool
    redundant: bool

    def field_bits(self, reader: BitReader) -> int:
        """Read what follows frame_num where pictures may be fields; return its bits: 2 in a field, 1 in a frame."""
        if self.sps.frames_only:
            return 0
        if not reader.flag():
            return 1
        reader.flag()  # bottom_field_flag
        return FIELD


def slice_formats(sets: Sequence[bytes]) -> dict[int, SliceFormat]:
    """Return slice headers' formats by PPS id; BitstreamError for slice groups, order count type 1."""
    seqs = [parse_h264_sps(nal) for nal in sets if nal_type("h264", nal) == H264_SPS]
    known = {sps.set_id: sps for sps in seqs}
    return dict(_read_pps(nal, known) for nal in sets if nal_type("h264", nal) == H264_PPS)


def _read_pps(nal: bytes, known: dict[int, H264Sps]) -> tuple[int, SliceFormat]:
    reader = BitReader(unescape(nal)[1:])
    number, sps = reader.ue(), known.get(reader.ue())
    cabac, bottom = reader.flag(), reader.flag()
    if sps is None or reader.ue() or sps.counts[1] == 1 or sps.planes:
        raise BitstreamError("the stream's slice headers cannot be rewritten")
    references = reader.ue() + 1, reader.ue() + 1
    weighted = reader.flag(), reader.bits(2)
    for _ in range(3):
        reader.ue()  # QP offsets
    deblocking = reader.flag()
    reader.flag()  # constrained_intra_pred_flag
    return number, SliceFormat(sps, cabac, bottom, references, weighted, deblocking, reader.flag())


class SliceWalk:
    """Reads a slice header field by field and copies it; `reader` and `out` are just after frame_num and order count.

    With `out` None it is only read.
    """

    def __init__(
        self, form: SliceFormat, kind: int, reader: BitReader, out: BitWriter | None, *, field: bool = False
    ) -> None:
        self.form, self.kind, self.reader, self.out, self.field = form, kind, reader, out, field

    def to_marking(self) -> None:
        """Copy all fields up to the marking of reference pictures."""
        form, counts = self.form, list(self.form.references)
        if form.bottom and not form.sps.counts[1] and not self.field:
            self.number()
        if form.redundant:
            self.number()
        if self.kind == INTRA:
            return
        if self.kind == B:
            self.flag()  # direct_spatial_mv_pred_flag
        lists = 2 if self.kind == B else 1
        if self.flag():
            counts[:lists] = [self.number() + 1 for _ in range(lists)]
        for _ in range(lists):
            self._list_changes()
        if form.weighted[0] if self.kind == P else form.weighted[1] == 1:
            self._weights(counts[:lists])

    def marking(self, keep: Callable[[Command], bool] | None) -> list[Command]:
        """Return the commands that mark reference pictures; write those that `keep` accepts, or, if None, an IDR's."""
        commands: list[Command] = []
        adaptive = self.reader.flag()
        while adaptive and (operation := self.reader.ue()):
            commands.append((operation, *(self.reader.ue() for _ in range(_NUMBERS.get(operation, 1)))))
            if len(commands) > LAST_COMMANDS:
                raise BitstreamError("slice header makes no sense")
        if self.out is not None and keep is None:
            self.out.bits(0, 2)  # no_output_of_prior_pics_flag, long_term_reference_flag
        elif self.out is not None and keep is not None:
            self.out.flag(value=adaptive)
            kept = [number for command in commands if keep(command) for number in command]
            for number in (*kept, 0) if adaptive else ():
                self.out.ue(number)
        return commands

    def finish(self, payload: bytes) -> bytes:
        """Copy the rest of `payload`, the unescaped NAL unit, and return the new unit. CABAC data is byte-aligned."""
        if self.out is None:
            raise BitstreamError("nothing to write to")
        if self.form.cabac and self.kind != INTRA:
            self.number()  # cabac_init_idc
        self.number()  # slice_qp_delta
        if self.form.deblocking and self.number() != NO_FILTER:
            self.number()
            self.number()
        if self.form.cabac:
            self.reader.bits(self.reader.left % 8)
            return self.out.aligned() + payload[len(payload) - self.reader.left // 8 :]
        self.out.copy(self.reader, self.reader.left - stop_bit_left(payload))
        return self.out.payload()

    def number(self) -> int:
        """Copy an Exp-Golomb number and return its code."""
        code = self.reader.ue()
        if self.out is not None:
            self.out.ue(code)
        return code

    def flag(self) -> bool:
        """Copy a bit and return it."""
        bit = self.reader.flag()
        if self.out is not None:
            self.out.flag(value=bit)
        return bit

    def _list_changes(self) -> None:
        if not self.flag():
            return
        for _ in range(LAST_COMMANDS):
            if self.number() == 3:
                return
            self.number()
        raise BitstreamError("slice header makes no sense")

    def _weights(self, counts: Iterable[int]) -> None:
        colour = self.form.sps.chroma != 0
        for _ in range(1 + colour):
            self.number()
        for _ in range(sum(counts)):
            for numbers in (2, 4) if colour else (2,):
                if self.flag():
                    for _ in range(numbers):
                        self.number()
