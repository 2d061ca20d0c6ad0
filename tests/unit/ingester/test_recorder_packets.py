"""MPEG-TS taken in long runs of packets and packet by packet is one and the same, whole or damaged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.ingester.publication import Frame
from services.ingester.recorder.mpegts import TsDemuxer
from services.ingester.recorder.units import AccessUnits
from tests.support.ts_mux import AUDIO, TYPES, VIDEO, Pes, TsMux
from tests.unit.shared.media.test_mp4_boxes import PPS, SPS

STEP = 3000
AUD, IDR, INTER, SEI = b"\x09\xf0", b"\x65\x88", b"\x41\x9a", b"\x06\x06\x01\xc4\x80"
ADTS = bytes.fromhex("fff14c80")  # AAC-LC of 48 kHz and two channels; the length follows

Damage = tuple[str, int, int]
sizes = st.integers(1, 3000)
damages = st.lists(
    st.tuples(st.sampled_from(("lose", "twice", "swap", "flip", "scramble")), st.integers(0, 400), st.integers(0, 23)),
    max_size=6,
)


def slices(sizes: Sequence[int]) -> list[bytes]:
    """Pictures' slices, the first of an IDR picture; no start code is in them, and no zero ends one."""
    return [(INTER if number else IDR) + bytes(1 + at * 7 % 251 for at in range(size)) + b"\x80"
            for number, size in enumerate(sizes)]  # fmt: skip


def adts(size: int) -> bytes:
    whole = size + 7
    return ADTS[:3] + bytes((0x80 | whole >> 11, whole >> 3 & 255, (whole & 7) << 5 | 0x1F, 0xFC)) + b"\x21" * size


class Clocks(TsMux):
    """Writes an adaptation field with a clock into each picture's first packet, and into every fifth one."""

    def payload(self, pid: int, data: bytes) -> None:
        if pid != VIDEO:
            super().payload(pid, data)
            return
        first = 0x40
        while data or first:
            room = max(8 if first or len(self.packets) % 5 == 0 else 0, 184 - len(data))
            part, data = data[: 184 - room], data[184 - room :]
            counter = self._counters[pid] = (self._counters.get(pid, -1) + 1) & 15
            field = bytes((room - 1,)) + (b"\x10" + bytes(6) if room > 7 else b"\0"[: room - 1]) if room else b""
            head = bytes((0x47, first | pid >> 8, pid & 255, (0x30 if room else 0x10) | counter))
            self.packets.append(head + field.ljust(room, b"\xff") + part)
            first = 0


def multiplex(pictures: Sequence[int], sounds: Sequence[int], *, bounded: bool, clocks: bool) -> list[bytes]:
    """A program's packets, with or without clocks in them."""
    out = Clocks() if clocks else TsMux()
    out.tables([(TYPES["h264"], VIDEO, b""), (TYPES["aac"], AUDIO, b"")])
    for number, piece in enumerate(slices(pictures)):
        sets = (b"" if number else b"\0\0\0\1" + SPS + b"\0\0\1" + PPS) + b"\0\0\1"
        out.pes(VIDEO, Pes(b"\0\0\0\1" + AUD + sets + piece, number * STEP + 99, number * STEP), bounded=bounded)
        if number < len(sounds):
            out.pes(AUDIO, Pes(adts(sounds[number]) * 2, number * STEP), bounded=True, kind=0xC0)
    return out.packets


def damaged(packets: Sequence[bytes], damages: Iterable[Damage]) -> list[bytes]:
    out = list(packets)
    for kind, at, bit in damages:
        place = at % len(out)
        if kind == "lose" and len(out) > 1:
            del out[place]
        elif kind == "twice":
            out.insert(place, out[place])
        elif kind == "swap":
            out[place - 1], out[place] = out[place], out[place - 1]
        elif kind == "scramble":
            out[place] = out[place][:3] + bytes((out[place][3] | 0x80,)) + out[place][4:]
        elif kind == "flip" and not (bit >= 16 and 1 << bit - 16 == 0x20):  # an adaptation field would be made up
            mark = int.from_bytes(out[place][1:4], "little") ^ 1 << bit
            out[place] = out[place][:1] + mark.to_bytes(3, "little") + out[place][4:]
    return out


def demuxed(pieces: Iterable[bytes]) -> tuple[list[Frame], int, set[str]]:
    demuxer = TsDemuxer()
    frames = [frame for piece in pieces for frame in demuxer.feed(piece)]
    return frames + demuxer.flush(), demuxer.damaged, demuxer.unsupported


@settings(max_examples=150, deadline=None)
@given(st.lists(sizes, min_size=1, max_size=12), st.lists(st.integers(20, 400), max_size=12), st.booleans(),
       st.booleans(), damages)  # fmt: skip
@example([2000, 900], [300], False, False, [("twice", 2, 0)])
@example([2000, 900], [300], False, True, [("twice", 12, 0), ("lose", 20, 0)])
def test_long_runs_give_what_single_packets_give(
    pictures: list[int], sounds: list[int], bounded: bool, clocks: bool, damages: list[Damage]
) -> None:
    packets = damaged(multiplex(pictures, sounds, bounded=bounded, clocks=clocks), damages)
    assert demuxed([b"".join(packets)]) == demuxed(packets)
    if bounded and not damages:
        frames, lost, _ = demuxed([b"".join(packets)])
        assert [len(f.payload) for f in frames if f.config.kind == "video"] == [size + 13 for size in pictures]
        assert (lost, sum(f.config.kind == "audio" for f in frames)) == (0, 2 * len(sounds[: len(pictures)]))


@settings(max_examples=80, deadline=None)
@given(st.lists(sizes, min_size=1, max_size=8), st.lists(st.integers(1, 2000), max_size=20), st.booleans(),
       st.lists(st.sampled_from((b"\0\0\1", b"\0\0\0\1", b"\0\0\0\0\0\1")), min_size=1, max_size=7))  # fmt: skip
def test_start_codes_zeros_and_cuts_change_no_unit(
    pictures: list[int], cuts: list[int], delimiters: bool, starts: list[bytes]
) -> None:
    units = [
        [AUD] * delimiters + [SPS, PPS, SEI] * (not number) + [piece] for number, piece in enumerate(slices(pictures))
    ]
    flat = [nal for unit in units for nal in unit]
    data = b"".join(starts[number % len(starts)] + nal for number, nal in enumerate(flat)) + bytes(len(cuts))
    reader, found, at = AccessUnits("h264"), [], 0
    for size in (8, *cuts, len(data)):  # what precedes the first whole start code is nothing
        found += reader.take(data[at : at + size], 0, (at, at)) if data[at : at + size] else []
        at += size
    found += reader.finish()
    whole = [b"".join(len(nal).to_bytes(4, "big") + nal for nal in unit if nal not in (SPS, PPS)) for unit in units]
    assert [unit.payload for unit in found] == whole
    assert [(unit.sync, unit.clean) for unit in found] == [(True, True), *[(False, False)] * (len(units) - 1)]
    assert reader.damaged == 0
