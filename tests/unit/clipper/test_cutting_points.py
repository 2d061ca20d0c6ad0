"""A point in milliseconds names a frame: over rates, rounding, reordering, and wherever in a session it lies."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import floor
from pathlib import Path

import pytest

from services.clipper.cutting import CutSource, Run, Segment
from services.clipper.cutting.load import load_pieces
from services.clipper.cutting.plan import POINT_TOLERANCE
from services.clipper.cutting.spans import choose_spans
from shared.media.mp4.fragments import FragmentWriter, Sample
from shared.media.mp4.init import aac_config, build_init, video_config
from shared.media.seams.source import Piece

SPS = bytes.fromhex("6764000d22cd941419f9e10000030001000003003c0f142996")
VIDEO = video_config("h264", b"\0\0\0\1" + SPS + b"\0\0\0\1" + bytes.fromhex("68212f8fcb"), 90000)
AUDIO = aac_config(bytes.fromhex("119056e500"))
PACKET = 1024
GOP, FRAMES = 60, 180
RATES = {
    "23.976": Fraction(24000, 1001), "25": Fraction(25), "29.97": Fraction(30000, 1001), "30": Fraction(30),
    "50": Fraction(50), "59.94": Fraction(60000, 1001), "60": Fraction(60),
}  # fmt: skip


def rounded(time: Fraction) -> int:
    """FFmpeg's FLV muxer."""
    return round(time * 1000) * 90


def truncated(time: Fraction) -> int:
    """OBS."""
    return floor(time * 1000) * 90


def fine(time: Fraction) -> int:
    """MPEG-TS."""
    return round(time * 90000)


STAMPS: dict[str, Callable[[Fraction], int]] = {"rounded": rounded, "truncated": truncated, "90k": fine}


class Session:
    """Frames of a steady rate on an encoder's clock, recorded with the stamps that it sends.

    Frame n is decoded at `begun` + n' / rate and shown `delay` frames later; sound's packet n lies `sound` s after the
    first frame plus n packets. Tick 0 is where the first frame is decoded, `zero` where it is shown.
    """

    def __init__(self, folder: Path, rate: Fraction, stamp: Callable[[Fraction], int], *, bframes: int, begun: Fraction,
                 sound: Fraction | None = None) -> None:  # fmt: skip
        self.folder, self.rate, self.stamp, self.bframes, self.begun, self.sound = (
            folder, rate, stamp, bframes, begun, sound,
        )  # fmt: skip
        self.delay = 1 if bframes else 0
        self.first = self.tick(0)
        self.zero = self.tick(self.delay) - self.first
        self.init = folder / "init-0.mp4"
        self.init.write_bytes(build_init([VIDEO, AUDIO] if sound is not None else [VIDEO]))

    def tick(self, number: int) -> int:
        return self.stamp(self.begun + number / self.rate)

    def source(self, firsts: range) -> CutSource:
        """Record the GOPs that begin with the frames `firsts`."""
        writer = FragmentWriter([VIDEO, AUDIO] if self.sound is not None else [VIDEO])
        segments = []
        for first in firsts:
            packets = self._packets(first) if self.sound is not None else []
            path = self.folder / f"{first:08d}.m4s"
            parts = [writer.part({1: self._gop(first)}), *(writer.part({2: [packet]}) for packet in packets)]
            path.write_bytes(b"".join(parts))
            begin = self.tick(first) - self.first
            segments.append(Segment(path, begin, self.tick(first + GOP) - self.first - begin))
        return CutSource((Run(self.init, tuple(segments), Fraction(-self.zero, 90000), zero=self.zero),))

    def _gop(self, first: int) -> list[Sample]:
        step = self.bframes + 1
        order = [0]  # I P B B P B B
        for anchor in range(step, GOP, step):
            order += [anchor, *range(anchor - step + 1, anchor)]
        order += [n for n in range(GOP) if n not in order]
        samples = []
        for place, shown in enumerate(order):
            dts, end = self.tick(first + place) - self.first, self.tick(first + place + 1) - self.first
            pts = self.tick(first + shown + self.delay) - self.first
            samples.append(Sample(dts, pts, end - dts, not place, b"x"))
        return samples

    def _packets(self, first: int) -> list[Sample]:
        """Sound of a GOP's decode time, with stamps as the recorder stores those it is given."""
        begin, end = (self.begun + n / self.rate for n in (first, first + GOP))
        zero = self.begun + self.delay / self.rate + (self.sound or 0)
        length = Fraction(PACKET, 48000)
        numbers = range(-floor((zero - begin) / length), -floor((zero - end) / length))
        ticks = [((self.stamp(zero + n * length) - self.first) * 48000 + 45000) // 90000 for n in numbers]
        return [Sample(at, at, PACKET, True, b"y") for at in ticks]


def pieces_of(source: CutSource) -> list[Piece]:
    return load_pieces(source, Fraction(-100), Fraction(10**6))


CASES = [
    pytest.param(rate, stamp, bframes, id=f"{rate}-{stamp}-b{bframes}")
    for rate in RATES
    for stamp in STAMPS
    for bframes in (0, 2)
]


@pytest.mark.parametrize(("name", "stamp", "bframes"), CASES)
def test_every_point_in_ms_names_its_frame(name: str, stamp: str, bframes: int, tmp_path: Path) -> None:
    """Sessions that begin anywhere on the encoder's clock, at their start and an hour later."""
    rate = RATES[name]
    for begun in (Fraction(0), 12345 / rate + Fraction(1, 7000)):
        session = Session(tmp_path, rate, STAMPS[stamp], bframes=bframes, begun=begun)
        for first in (0, 180_000):
            pieces = pieces_of(session.source(range(first, first + FRAMES, GOP)))
            for number in range(first, first + FRAMES - 3):
                point = Fraction(round(number / rate * 1000), 1000)
                end = Fraction(round((number + 2) / rate * 1000), 1000)
                spans = choose_spans(pieces, point, end)
                assert [span.start for span in spans] == [number / rate], (float(begun), number)
                assert len(spans[0].frames) == 2


@pytest.mark.parametrize(("name", "stamp", "bframes"), CASES)
def test_parts_of_a_session_agree(name: str, stamp: str, bframes: int, tmp_path: Path) -> None:
    session = Session(tmp_path, RATES[name], STAMPS[stamp], bframes=bframes, begun=Fraction(100, 7))
    for first in range(600, 600 + 5 * GOP, GOP):
        (piece,) = pieces_of(session.source(range(first, first + GOP * 2, GOP)))
        assert piece.video is not None
        assert piece.video.time(int(piece.video.at.min())) == first / RATES[name]


@pytest.mark.parametrize("sound", [Fraction(0), Fraction(5, 1000), Fraction(-3, 7000), Fraction(1, 90)])
@pytest.mark.parametrize("stamp", ["rounded", "90k"])
@pytest.mark.parametrize("name", RATES)
def test_sound_lies_within_a_sample_of_its_source(name: str, stamp: str, sound: Fraction, tmp_path: Path) -> None:
    """Packet n begins `sound` + n packets after the first frame is shown, as nearly as both tracks' stamps tell.

    Stamps rounded to ms whose true times differ by whole k-ths of one leave 1 / 2k ms open: k is 3 for 48 kHz.
    """
    length = Fraction(PACKET, 48000)
    open_ms = Fraction(1, 6) + Fraction(1, 2 * (1000 / RATES[name]).denominator) if stamp == "rounded" else 0
    for begun in (Fraction(0), Fraction(100, 7), 1000 / RATES[name]):
        session = Session(tmp_path, RATES[name], STAMPS[stamp], bframes=2, begun=begun, sound=sound)
        for first in (0, 60_000):
            (piece,) = pieces_of(session.source(range(first, first + FRAMES, GOP)))
            assert piece.audio is not None
            starts = [piece.audio.base + Fraction(int(at), 48000) - sound for at in piece.audio.at]
            off = [abs(start - round(start / length) * length) * 48000 for start in starts]
            assert float(max(off)) <= 1.6 + 48 * open_ms, (float(begun), first)


def test_point_is_half_a_millisecond_wide(tmp_path: Path) -> None:
    session = Session(tmp_path, Fraction(30), rounded, bframes=0, begun=Fraction(0))
    pieces = pieces_of(session.source(range(0, FRAMES, GOP)))
    for late, number in ((Fraction(1, 2000), 30), (POINT_TOLERANCE, 30), (Fraction(6, 10000), 31), (-1, 0)):
        assert choose_spans(pieces, 1 + late, Fraction(3))[0].start == Fraction(number, 30)


def test_a_clock_that_jumped_is_placed_by_all_its_stamps(tmp_path: Path) -> None:
    """What does not lie on the first frame's grid has its own, within 0.05 ms; points are still rounded safely."""
    for phase in (Fraction(2, 1000), Fraction(11, 1000), Fraction(17, 1000)):
        session = Session(tmp_path, Fraction(30), rounded, bframes=2, begun=Fraction(0))
        session.begun += phase
        (piece,) = pieces_of(session.source(range(0, FRAMES, GOP)))
        assert piece.video is not None
        off = piece.video.time(int(piece.video.at.min())) - phase
        assert abs(off + Fraction(session.zero, 90000) - Fraction(1, 30)) <= Fraction(1, 20000)
